"""JavaScript of the one drawing component: clickable pictures, matrix, class table and search hits.

Everything that comes from data is set as text or as an attribute, never as HTML, so that no class name, file name or
judge's text can become markup. Links are real anchors (a middle click or "copy link" works); a plain click is sent to
Python, which changes page without a reload.
"""

from pages._view_stories import STORIES_JS

_START = """
const STRONG = 0.72;  // from here on white is read better than black on the colour of an error

const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = visible(text);
  return node;
};

// What would reorder the words around it is shown as a character.
const visible = (text) => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');

const short = (name) => {
  const all = [...visible(name)];
  return all.length > 32 ? all.slice(0, 31).join('') + '…' : all.join('');
};

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const state = JSON.stringify(data);
  if (!root || root.dataset.state === state) return;

  const anchor = (target, cls) => {
    const node = make('a', cls);
    if (!target) { node.classList.add('dead'); return node; }
    node.href = target.href;
    node.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      setTriggerValue('go', target.go);
    });
    return node;
  };
  const picture = (shown, cls) => {
    const box = make('span', 'frame ' + (cls || ''));
    if (shown && shown.src) {
      const image = make('img');
      image.src = shown.src; image.alt = shown.alt || ''; image.decoding = 'sync';
      box.append(image);
    } else box.append(make('span', 'missing', (shown && shown.missing) || 'no picture'));
    if (shown && shown.label) box.append(make('span', 'label', shown.label));
    return box;
  };
  const dot = (colour) => { const node = make('span', 'dot'); node.style.background = colour; return node; };

  const drawGrid = () => {
    const grid = make('div', 'grid');
    grid.style.setProperty('--size', data.size + 'px');
    for (const item of data.items) {
      const card = anchor(item.target, 'card');
      card.title = visible(item.hint || '');
      card.style.setProperty('--cell', item.colour);
      const row = make('span', 'pictures');
      for (const shown of item.pictures) row.append(picture(shown));
      card.append(row);
      const words = make('span', 'words');
      words.append(make('span', 'title', item.title));
      for (const line of item.lines) words.append(make('span', 'line', line));
      card.append(words);
      grid.append(card);
    }
    return grid;
  };

  const drawMatrix = () => {
    const grid = make('div', 'matrix');
    for (const item of data.cells) {
      const card = anchor(item.target, 'cell');
      card.style.setProperty('--cell', item.colour);
      card.title = item.hint;
      card.append(make('span', 'name', item.words));
      const line = make('span', 'numbers');
      line.append(make('span', 'big', item.n), make('span', 'share', item.share));
      card.append(line);
      const strip = make('span', 'strip');
      for (const shown of item.pictures) strip.append(picture(shown));
      card.append(strip);
      grid.append(card);
    }
    return grid;
  };

  // One stop of the tab key; from there the arrows move to the next cell that way, Home and End along the row.
  const oneStop = (grid, places) => {
    const all = places.flat().filter(Boolean);
    const stop = (cell) => all.forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
    stop(all[0]);
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    grid.addEventListener('keydown', (event) => {
      let row = places.findIndex((cells) => cells.includes(event.target)), column = places[row]?.indexOf(event.target);
      let next = null;
      if (event.key === 'Home') next = places[row].find(Boolean);
      else if (event.key === 'End') next = places[row].findLast(Boolean);
      else if (moves[event.key]) {
        const [down, right] = moves[event.key];
        do { row += down; column += right; next = places[row]?.[column]; } while (next === null);
      } else return;
      event.preventDefault();
      if (next) { stop(next); next.focus(); }
    });
    grid.addEventListener('focusin', (event) => { if (all.includes(event.target)) stop(event.target); });
  };

  const drawConfusion = () => {
    const grid = make('div', 'confusion');
    grid.style.setProperty('--classes', data.names.length);
    grid.classList.toggle('many', data.names.length > 6 || data.names.some((name) => name.length > 9));
    grid.setAttribute('role', 'group');
    grid.setAttribute('aria-label', 'Labels and predictions; the arrow keys move from cell to cell');
    const places = [];  // of each row, its cells or nothing
    grid.append(make('span'));
    for (const name of data.names) {
      const head = make('span', 'column', name); head.title = visible(name); grid.append(head);
    }
    for (const row of data.rows) {
      const head = make('span', 'row', row.name); head.title = visible(row.name); grid.append(head);
      places.push([]);
      for (const item of row.cells) {
        if (!item) { grid.append(make('span', 'none')); places.at(-1).push(null); continue; }
        const cell = anchor(item.target, item.right ? 'right' : 'wrong');
        cell.textContent = item.n;
        cell.title = visible(item.hint);
        cell.setAttribute('aria-label', cell.title);
        cell.style.setProperty('--strength', 12 + 88 * item.strength + '%');
        cell.classList.toggle('strong', !item.right && item.strength > STRONG);
        places.at(-1).push(cell);
        grid.append(cell);
      }
    }
    oneStop(grid, places);
    return grid;
  };

  const drawClasses = () => {
    const table = make('table', 'classes');
    const head = make('tr');
    for (const [name, cls] of data.head) {
      const cell = make('th', cls, name);
      if (cls === 'both') cell.colSpan = 2;  // the bar and its number
      head.append(cell);
    }
    table.append(make('thead')); table.tHead.append(head);
    const body = make('tbody');
    for (const row of data.rows) {
      const line = make('tr');
      const name = make('td', 'text');
      const to = anchor(row.target, 'link'); to.textContent = short(row.name); to.title = visible(row.name);
      name.append(to);
      const heat = make('td'); heat.append(row.heat ? picture(row.heat, 'small') : make('span', 'soft', '–'));
      const bar = make('td', 'barcell');
      if (row.bar) {
        const track = make('span', 'track'), fill = make('span', 'fill'), whisker = make('span', 'whisker');
        fill.style.width = row.bar.value * 100 + '%';
        whisker.style.left = row.bar.low * 100 + '%';
        whisker.style.width = (row.bar.high - row.bar.low) * 100 + '%';
        track.append(fill, whisker); bar.append(track);
      }
      const confused = make('td', 'text');
      if (row.confused) {
        const other = anchor(row.confused.target, 'link');
        other.textContent = short(row.confused.name); other.title = visible(row.confused.name);
        confused.append(other, make('span', 'soft', ' ' + row.confused.n));
      } else confused.append(make('span', 'soft', '–'));
      line.append(name, heat, make('td', 'number', row.n), bar, make('td', 'number', row.accuracy),
        make('td', 'number', row.score), confused);
      body.append(line);
    }
    table.append(body);
    const wrap = make('div', 'scroll'); wrap.append(table);
    wrap.tabIndex = 0; wrap.setAttribute('role', 'region'); wrap.setAttribute('aria-label', 'Classes');
    return wrap;
  };

  const drawHits = () => {
    const list = make('div', 'hits');
    for (const item of data.items) {
      const row = make('div', 'hit');
      row.style.setProperty('--cell', item.colour);
      const to = anchor(item.target, 'pictures');
      for (const shown of item.pictures) to.append(picture(shown));
      const words = make('div', 'words');
      const top = make('div', 'title');
      top.append(dot(item.colour), make('span', '', item.title), make('span', 'soft', item.note));
      words.append(top);
      item.texts.forEach((pieces, index) => {
        const text = make('p', index ? 'soft' : 'quote');
        for (const [piece, marked] of pieces) text.append(make(marked ? 'mark' : 'span', '', piece));
        words.append(text);
      });
      const foot = make('div', 'foot');
      foot.append(make('span', 'soft', item.why));
      for (const other of item.links) {
        const extra = anchor(other.target, 'link'); extra.textContent = other.text; foot.append(extra);
      }
      words.append(foot);
      row.append(to, words);
      list.append(row);
    }
    return list;
  };

  const copy = (text, value) => {
    const button = make('button', 'copy', text);
    button.addEventListener('click', async () => {
      const wanted = value || window.location.href;
      try { await navigator.clipboard.writeText(wanted); button.textContent = 'Copied'; }
      catch { window.prompt(text, wanted); }
      setTimeout(() => { button.textContent = text; }, 1500);
    });
    return button;
  };

  const keeper = (item) => {
    const button = make('button', 'copy keep', item.keep.words);
    button.addEventListener('click', () => { button.disabled = true; setTriggerValue('keep', item.keep.id); });
    return button;
  };

  const drawFindings = () => {
    const list = make('ol', 'findings');
    for (const item of data.items) {
      const row = make('li', 'finding');
      const words = make('div', 'words');
      words.append(make('span', 'soft', item.heading), make('p', 'sentence', item.sentence));
      const query = make('details');
      query.append(make('summary', 'soft', item.sql ? 'Evidence and SQL' : 'Evidence'));
      if (item.evidence) query.append(make('p', 'evidence', item.evidence));
      if (item.sql) query.append(make('pre', '', item.sql), copy('Copy SQL', item.sql));
      words.append(query);
      if (item.keep) words.append(keeper(item));
      const sides = make('div', item.contrast.length ? 'sides compared' : 'sides');
      const to = anchor(item.target, 'pictures');
      if (item.contrast.length) to.append(make('span', 'side soft', 'went wrong here'));
      for (const shown of item.pictures) to.append(picture(shown));
      to.append(make('span', 'link', item.link));
      sides.append(to);
      if (item.contrast.length) {
        const other = anchor(item.contrast_target, 'pictures');
        other.append(make('span', 'side soft', 'went right elsewhere'));
        for (const shown of item.contrast) other.append(picture(shown));
        sides.append(other);
      }
      row.append(make('span', 'rank', item.rank), words, sides);
      list.append(row);
    }
    return list;
  };

"""

_END = """
  const drawLegend = () => {
    const legend = make('div', 'legend');
    for (const item of data.items) {
      const entry = make('span'); entry.append(dot(item.colour), make('span', '', item.words)); legend.append(entry);
    }
    return legend;
  };

  const drawFacts = () => {
    const table = make('table', 'facts');
    for (const [name, value] of data.rows) {
      const line = make('tr');
      line.append(make('th', '', name), make('td', '', value));
      table.append(line);
    }
    return table;
  };

  const drawTop = () => {
    const mark = make('span', 'top');
    requestAnimationFrame(() => mark.scrollIntoView());
    return mark;
  };

  const drawCopy = () => copy(data.text, data.value);

  const draw = {
    grid: drawGrid, matrix: drawMatrix, confusion: drawConfusion, classes: drawClasses, hits: drawHits,
    findings: drawFindings, facts: drawFacts, legend: drawLegend, copy: drawCopy,
    stories: drawStories, asides: drawAsides, top: drawTop,
  }[data.kind];
  root.replaceChildren(draw());
  root.dataset.state = state;
}
"""

JS = _START + STORIES_JS + _END
