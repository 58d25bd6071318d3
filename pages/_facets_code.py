"""JavaScript and CSS of facets and chips: bars, histograms with a brush, conditions.

All that comes from data is set as text. A click is sent to Python, which changes the query; what is open, and where the
focus was, stay.
"""

JS = r"""
const visible = (text) => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = visible(text);
  return node;
};
const FEW = 6;
const unfolded = new Map();  // groups and columns that the reader opened or closed
const count = (n) => n.toLocaleString('en');

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const state = JSON.stringify(data);
  if (!root || root.dataset.state === state) return;
  const act = (name, more) => setTriggerValue('act', { act: name, ...more });
  const button = (cls, key, says, does) => {
    const node = make('button', cls);
    node.type = 'button'; node.dataset.key = key;
    node.setAttribute('aria-label', visible(says)); node.title = visible(says);
    if (does) node.addEventListener('click', does);
    return node;
  };

  const drawValue = (column, item, most) => {
    const said = { in: 'wanted, click: not this', out: 'not wanted, click: either way', '': 'click: only this' };
    const says = `${column.column}: ${item.words}, ${count(item.inside)} here, ${count(item.rest)} in the rest (${
      said[item.state]})`;
    const row = button('value ' + item.state, column.column + '=' + item.words, says,
      () => act('value', { column: column.column, value: item.value, within: column.within }));
    const bar = make('span', 'bar'), fill = make('span', 'fill'), mean = make('span', 'others');
    fill.style.width = 100 * item.inside / most.inside + '%';
    mean.style.left = `calc(${100 * item.rest / most.rest}% - 1px)`;
    bar.append(fill);
    if (most.rest > 1 || item.rest) bar.append(mean);
    const mark = { in: '✓ ', out: '≠ ', '': '' }[item.state];
    row.append(bar, make('span', 'name', mark + item.words), make('span', 'n', count(item.inside)));
    return row;
  };

  const drawValues = (column) => {
    const list = make('div', 'values');
    const most = {
      inside: Math.max(1, ...column.values.map((item) => item.inside)),
      rest: Math.max(1, ...column.values.map((item) => item.rest)),
    };
    const key = 'all ' + column.column, all = unfolded.get(key);
    const shown = column.values.filter((item, at) => all || at < FEW || item.state || item.value === null);
    for (const item of shown) list.append(drawValue(column, item, most));
    const hidden = column.values.length - shown.length;
    if (hidden || all) {
      const words = all ? 'fewer' : `${hidden + column.more} more`;
      const more = button('more', key, `${words} values of ${column.column}`,
        () => { unfolded.set(key, !all); paint(); });
      more.textContent = words;
      list.append(more);
    }
    if (all && column.more) list.append(make('span', 'soft', `${count(column.more)} others are not listed`));
    return list;
  };

  const drawBins = (column) => {
    const box = make('div', 'histogram'), bins = make('div', 'bins');
    bins.setAttribute('role', 'group');
    bins.setAttribute('aria-label', `${column.column}: arrows choose, shift widens, Enter takes the range`);
    const here = Math.max(1, ...column.bins.map((bin) => bin.inside));
    const rest = Math.max(1, ...column.bins.map((bin) => bin.rest));
    let from = 0, to = 0, held = false;
    const nodes = column.bins.map((bin, at) => {
      const says = `${column.column} ${bin.words}: ${count(bin.inside)} here, ${count(bin.rest)} in the rest`;
      const node = button('bin', column.column + '[' + at, says);
      node.tabIndex = at ? -1 : 0;
      const grey = make('span', 'rest'), fill = make('span', 'here');
      grey.style.height = 100 * bin.rest / rest + '%'; fill.style.height = 100 * bin.inside / here + '%';
      node.append(grey, fill);
      if (column.range && bin.low >= column.range[0] && bin.high <= column.range[1]) node.classList.add('in');
      return node;
    });
    const mark = () => nodes.forEach((node, at) =>
      node.classList.toggle('brushed', at >= Math.min(from, to) && at <= Math.max(from, to)));
    const take = () => act('range', {
      column: column.column, low: column.bins[Math.min(from, to)].low, high: column.bins[Math.max(from, to)].high });
    const at = (event) => {
      const place = bins.getBoundingClientRect();
      const share = (event.clientX - place.left) / place.width;
      return Math.max(0, Math.min(nodes.length - 1, Math.floor(share * nodes.length)));
    };
    bins.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      from = to = at(event); held = true; bins.setPointerCapture(event.pointerId); mark();
    });
    bins.addEventListener('pointermove', (event) => { if (held) { to = at(event); mark(); } });
    bins.addEventListener('pointerup', () => { if (held) { held = false; take(); } });
    bins.addEventListener('keydown', (event) => {
      const now = nodes.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) {
        const next = Math.max(0, Math.min(nodes.length - 1, now + step));
        to = next; if (!event.shiftKey) from = next;
        nodes.forEach((node, place) => { node.tabIndex = place === next ? 0 : -1; });
        nodes[next].focus(); mark(); event.preventDefault();
      } else if (event.key === 'Enter' || event.key === ' ') {
        if (to !== now) from = to = now;
        take(); event.preventDefault();
      }
    });
    bins.append(...nodes);
    const ends = make('div', 'ends soft');
    ends.append(...column.ends.map((end) => make('span', '', end)));
    box.append(bins, ends);
    return box;
  };

  const fold = (key, open, cls, title, more) => {
    const node = make('details', cls), head = make('summary', '', title);
    node.open = unfolded.has(key) ? unfolded.get(key) : open;
    head.dataset.key = key; head.title = visible(more);
    node.addEventListener('toggle', () => unfolded.set(key, node.open));
    node.append(head);
    return node;
  };

  const drawFacets = () => {
    const panel = make('div', 'panel');
    panel.setAttribute('role', 'region'); panel.setAttribute('aria-label', 'Facets');
    for (const group of data.groups) {
      const box = fold('group ' + group.name, group.open, 'group', group.name, group.columns.length + ' columns');
      for (const column of group.columns) {
        const part = make('div', 'column'), head = make('div', 'head', column.column);
        head.title = visible(column.help);
        part.append(head);
        if (column.bins.length) part.append(drawBins(column));
        if (column.values.length) part.append(drawValues(column));
        box.append(part);
      }
      panel.append(box);
    }
    return panel;
  };

  const drawChip = (item, inner) => {
    const chip = make('span', `chip ${item.kind} ${item.negated ? 'negated' : ''}`);
    chip.title = visible(item.hint);
    if (item.kind === 'group') {
      if (item.negated) chip.append(make('span', 'not', 'not'));
      item.members.forEach((member, at) => {
        if (at && !inner) {
          const part = button('join', `join ${item.place} ${at}`, `Both must hold: ${item.hint}`,
            () => act('both', { place: item.place }));
          part.textContent = item.joiner; chip.append(part);
        } else if (at) chip.append(make('span', 'join', item.joiner));
        chip.append(drawChip(member, true));
      });
    } else if (inner) {
      chip.append(make('span', '', (item.kind === 'sql' && item.negated ? 'not ' : '') + item.words));
      return chip;
    }
    if (inner) return chip;
    const words = item.kind === 'group' ? 'not' : (item.kind === 'sql' && item.negated ? 'not ' : '') + item.words;
    const turn = button('turn', 'turn ' + item.hint, `${item.hint}. Click: the contrary`,
      () => act('negate', { place: item.place }));
    turn.textContent = item.kind === 'group' ? '¬' : visible(words);
    const drop = button('drop', 'drop ' + item.hint, `Remove ${item.hint}`, () => act('remove', { place: item.place }));
    drop.textContent = '×';
    chip.append(turn, drop);
    return chip;
  };
  const drawChips = () => {
    const row = make('div', 'chips');
    row.setAttribute('role', 'group'); row.setAttribute('aria-label', 'Conditions');
    if (!data.items.length) row.append(make('span', 'soft', 'Every picture of the run. Click a value to narrow it.'));
    data.items.forEach((item, at) => {
      if (at) {
        const before = data.items[at - 1];
        const join = button('join', `join ${before.hint}`, 'One of the two is enough: or',
          () => act('either', { place: before.place, other: item.place }));
        join.textContent = 'and'; row.append(join);
      }
      row.append(drawChip(item, false));
    });
    return row;
  };

  const paint = () => {
    const within = root.getRootNode();
    const focused = within.activeElement && within.activeElement.dataset.key;
    const panel = root.querySelector('.panel'), scrolled = panel ? panel.scrollTop : 0;
    root.replaceChildren(data.kind === 'chips' ? drawChips() : drawFacets());
    if (scrolled) root.querySelector('.panel').scrollTop = scrolled;
    if (focused) {
      const again = [...root.querySelectorAll('[data-key]')].find((node) => node.dataset.key === focused);
      if (again) again.focus({ preventScroll: true });
    }
  };
  paint();
  root.dataset.state = state;
}
"""

CSS = """
.root { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem; line-height: 1.35;
  overflow-wrap: anywhere; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: left; }
button:focus-visible, summary:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 1px; }
.soft { opacity: .72; font-size: .95rem; }
.panel { max-height: calc(100vh - 11rem); overflow: auto; padding: 2px 8px 2px 3px; scrollbar-width: thin; }
.group > summary { font-weight: 650; padding: 7px 0; cursor: pointer; border-top: 1px solid var(--st-border-color); }
.group:first-child > summary { border-top: 0; padding-top: 0; }
.column { padding: 0 0 10px 2px; }
.column .head { font-family: var(--st-code-font, monospace); font-size: .95rem; padding: 2px 0; cursor: help;
  width: fit-content; max-width: 100%; }
.values { display: flex; flex-direction: column; gap: 2px; }
.value { position: relative; display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 8px; width: 100%;
  padding: 1px 6px; border-radius: 4px; overflow: hidden; }
.value:hover, .more:hover { background: var(--st-secondary-background-color); }
.value .bar { position: absolute; inset: 0; z-index: 0; }
.value .fill { position: absolute; inset: 0 auto 0 0; border-radius: 4px;
  background: color-mix(in srgb, var(--st-primary-color) 26%, transparent); }
.value .others { position: absolute; top: 3px; bottom: 3px; width: 2px; opacity: .45;
  background: var(--st-text-color); }
.value .name, .value .n { position: relative; z-index: 1; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.value .n { font-variant-numeric: tabular-nums; }
.value.in { box-shadow: inset 0 0 0 2px var(--st-primary-color); font-weight: 600; }
.value.out .name { text-decoration: line-through; } .value.out { opacity: .8; }
.more { padding: 1px 6px; border-radius: 4px; text-decoration: underline; font-size: .95rem; width: fit-content; }
.bins { display: flex; height: 46px; gap: 1px; touch-action: none; cursor: crosshair;
  border-bottom: 1px solid var(--st-border-color); }
.bin { position: relative; flex: 1; height: 100%; cursor: crosshair; border-radius: 2px; }
.bin .rest, .bin .here { position: absolute; bottom: 0; left: 0; right: 0; min-height: 0; pointer-events: none; }
.bin .rest { background: var(--st-text-color); opacity: .16; }
.bin .here { background: var(--st-primary-color); opacity: .75; left: 20%; right: 20%; }
.bin:hover, .bin.brushed { background: color-mix(in srgb, var(--st-primary-color) 18%, transparent); }
.bin.in { background: color-mix(in srgb, var(--st-primary-color) 26%, transparent); }
.ends { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; min-height: 34px; }
.chip { display: inline-flex; align-items: center; border: 1px solid var(--st-border-color); border-radius: 16px;
  background: var(--st-secondary-background-color); max-width: 26rem; overflow: hidden; }
.chip .chip { border: 0; padding: 0 8px; }
.chip.group { max-width: 100%; padding-left: 8px; flex-wrap: wrap; }
.chip .not { font-weight: 600; }
.turn { padding: 3px 4px 3px 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.chip.negated { border-style: dashed; }
.chip.sql .turn { font-family: var(--st-code-font, monospace); }
.drop { padding: 3px 10px 3px 6px; font-weight: 650; }
.turn:hover, .drop:hover, .join:hover { color: var(--st-primary-color); }
.join { opacity: .8; text-decoration: underline dotted; padding: 0 2px; }
span.join { text-decoration: none; }
"""
