"""JavaScript and CSS of the grid: keys, choosing, enlarging in place, the strength of the overlay.

What is chosen, and the tag that is being typed, live in the browser until something is done with them, so that
choosing is instant. All that comes from data is set as text.
"""

JS = r"""
const visible = (text) => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = visible(text);
  return node;
};
const press = (cls, text, says, does) => {
  const node = make('button', cls, text);
  node.type = 'button'; node.title = visible(says); node.setAttribute('aria-label', visible(says));
  node.addEventListener('click', does);
  return node;
};
let strength = 50;

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const { large, ...lasting } = data;
  const state = JSON.stringify(lasting);
  if (!root) return;
  if (root.dataset.state === state) { root.sharpen?.(large); return; }
  const here = new Set(data.items.map((item) => item.id));
  const chosen = root.chosen = new Set([...(root.chosen || [])].filter((id) => here.has(id)));
  let all = false, last = null;
  const act = (name, more) => {
    setTriggerValue('act', { act: name, ids: all ? null : [...chosen], at: Date.now(), ...more });
    chosen.clear(); all = false; root.typed = ''; mark();
  };

  const picture = (shown) => {
    const box = make('span', 'frame');
    if (shown && shown.src) {
      const image = make('img');
      if (shown.whole) image.classList.add('whole');
      image.src = shown.src; image.alt = shown.alt || ''; image.decoding = 'sync';
      box.append(image);
      if (shown.heat) {
        const heat = make('img', 'heat'); heat.src = shown.heat; heat.alt = ''; box.append(heat);
      }
    } else box.append(make('span', 'missing', (shown && shown.missing) || 'no picture'));
    if (shown && shown.label) box.append(make('span', 'label', shown.label));
    return box;
  };

  const cards = data.items.map((item, at) => {
    const box = make('div', 'box'), card = make('a', 'card');
    card.href = item.target.href; card.tabIndex = at ? -1 : 0; card.title = visible(item.hint);
    card.style.setProperty('--cell', item.colour);
    const row = make('span', 'pictures');
    row.append(...item.pictures.map(picture));
    const words = make('span', 'words');
    words.append(make('span', 'title', item.title), ...item.lines.map((line) => make('span', 'line', line)));
    if (item.tags.length) {
      const tags = make('span', 'tags'); tags.append(...item.tags.map((tag) => make('span', 'tag', tag)));
      words.append(tags);
    }
    card.append(row, words);
    card.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      setTriggerValue('go', item.target.go);
    });
    const tick = press('tick', '', `Choose ${item.title}`, (event) => {
      if (event.shiftKey && last !== null) {
        for (let place = Math.min(last, at); place <= Math.max(last, at); place += 1) chosen.add(data.items[place].id);
        mark();
      } else toggle(at);
    });
    tick.setAttribute('role', 'checkbox'); tick.tabIndex = -1;
    const larger = press('larger', '⤢', `Enlarge ${item.title}`, () => enlarge(at));
    larger.tabIndex = -1;
    box.append(card, tick, larger);
    return { box, card, tick, item };
  });

  const toggle = (at) => {
    const { id } = data.items[at];
    if (!chosen.delete(id)) chosen.add(id);
    all = false; last = at; mark();
  };

  const bar = make('div', 'bar'), acts = make('div', 'bar acts'), count = make('span', 'count');
  count.setAttribute('role', 'status');
  const named = make('input', 'name');
  named.placeholder = 'tag'; named.maxLength = 60;
  named.setAttribute('aria-label', 'Tag'); named.setAttribute('list', 'known');
  const known = make('datalist'); known.id = 'known';
  known.append(...data.known.map((tag) => { const option = make('option'); option.value = tag; return option; }));
  const tag = () => { const text = named.value.trim(); if (text) act('tag', { tag: text }); else named.focus(); };
  named.value = root.typed || '';
  named.addEventListener('input', () => { root.typed = named.value; });
  named.addEventListener('keydown', (event) => { if (event.key === 'Enter') tag(); });
  const should = make('select', 'should');
  should.setAttribute('aria-label', 'The label should be');
  should.append(make('option', '', 'Should be …'), ...data.classes.map((name) => {
    const option = make('option', '', name); option.value = name; return option; }));
  should.firstChild.value = '';
  should.addEventListener('change', () => {
    if (should.value) act('decide', { verdict: 'wrong', should_be: should.value });
  });
  acts.append(count, named, known, press('', 'Tag', 'Tag the chosen pictures', tag),
    press('', 'Untag', 'Take this tag from the chosen pictures', () => {
      if (named.value.trim()) act('untag', { tag: named.value.trim() }); else named.focus(); }),
    press('', 'Label right', 'Their label is right', () => act('decide', { verdict: 'right' })),
    press('', 'Label wrong', 'Their label is wrong, without saying what it should be',
      () => act('decide', { verdict: 'wrong' })),
    press('', 'Not sure', 'Not sure of their label', () => act('decide', { verdict: 'unsure' })), should,
    press('', 'Clear', 'Choose none', () => { chosen.clear(); all = false; mark(); }));
  const page = press('', 'Select page', 'Choose every picture of this page', () => {
    for (const item of data.items) chosen.add(item.id);
    all = false; mark();
  });
  const every = press('', `Select all ${data.n.toLocaleString('en')}`, 'Choose every picture of the slice', () => {
    for (const item of data.items) chosen.add(item.id);
    all = true; mark();
  });
  const undo = press('', 'Undo', 'Take back the last tag or decision', () => act('undo', {}));
  const keys = make('span', 'soft', 'Space selects, Z enlarges');
  bar.append(page, every, undo);
  if (data.items.some((item) => item.pictures.some((shown) => shown.heat))) {
    const slide = make('input', 'strength'), named = make('label', 'soft', 'Overlay ');
    slide.type = 'range'; slide.min = 0; slide.max = 100; slide.step = 5; slide.value = strength;
    slide.setAttribute('aria-label', 'Strength of the overlay');
    slide.addEventListener('input', () => { strength = slide.value; tint(); });
    named.append(slide); bar.append(named);
  }
  bar.append(keys);
  const tint = () => root.style.setProperty('--heat', strength / 100);

  const mark = () => {
    const n = all ? data.n : chosen.size;
    count.textContent = n ? `${n.toLocaleString('en')} selected` : '';
    acts.hidden = !n;
    every.hidden = data.n <= data.items.length;
    for (const { box, tick, item } of cards) {
      box.classList.toggle('chosen', chosen.has(item.id));
      tick.setAttribute('aria-checked', String(chosen.has(item.id)));
      tick.textContent = chosen.has(item.id) ? '✓' : '';
    }
  };

  const grid = make('div', 'grid');
  grid.style.setProperty('--size', data.size + 'px');
  grid.append(...cards.map(({ box }) => box));
  const focus = (at) => {
    const next = Math.max(0, Math.min(cards.length - 1, at));
    cards.forEach(({ card }, place) => { card.tabIndex = place === next ? 0 : -1; });
    cards[next].card.focus();
    return next;
  };
  const across = () => {
    const top = cards[0].box.offsetTop;
    const next = cards.findIndex(({ box }) => box.offsetTop > top);
    return next < 0 ? cards.length : next;
  };
  const step = (key) => ({ ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across() })[key];
  grid.addEventListener('keydown', (event) => {
    const at = cards.findIndex(({ card }) => card === event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = step(event.key);
    if (moves && at + moves >= 0 && at + moves < cards.length) focus(at + moves);
    else if (event.key === ' ') toggle(at);
    else if (event.key.toLowerCase() === 'z') enlarge(at);
    else if (!moves) return;
    event.preventDefault();
  });

  const dialog = make('dialog', 'zoom');
  dialog.setAttribute('aria-label', 'Enlarged picture');
  let shown = 0;
  const enlarge = (at) => {
    shown = at;
    const { item } = cards[at];
    const row = make('div', 'large'), words = make('p', '', `${item.title}   ${item.lines.join(' · ')}`);
    row.append(...item.pictures.map(picture));
    dialog.replaceChildren(row, words, press('', 'Close', 'Close (Escape)', () => dialog.close()));
    if (!dialog.open) dialog.showModal();
    setTriggerValue('larger', item.id);
  };
  root.sharpen = (whole) => {
    if (!whole || !dialog.open || whole.id !== data.items[shown].id) return;
    dialog.querySelectorAll('.large img.whole').forEach((image) => { image.src = whole.src; });
  };
  dialog.addEventListener('keydown', (event) => {
    const moves = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (moves && cards[shown + moves]) enlarge(shown + moves);
    else if (event.key === ' ' && event.target.tagName !== 'BUTTON') toggle(shown);
    else if (event.key.toLowerCase() === 'z') dialog.close();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => focus(shown));

  const typing = root.getRootNode().activeElement?.classList.contains('name');
  root.replaceChildren(bar, grid, acts, dialog);
  tint(); mark();
  if (typing && !acts.hidden) named.focus();
  root.dataset.state = state;
}
"""

CSS = """
.root { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem; line-height: 1.35;
  overflow-wrap: anywhere; --heat: .5; }
[hidden] { display: none !important; }
.soft { opacity: .75; }
.bar { display: flex; flex-wrap: wrap; gap: 6px 8px; align-items: center; min-height: 36px; padding: 0 0 6px; }
.acts { position: sticky; bottom: 8px; z-index: 3; margin-top: 10px; padding: 8px 12px; border-radius: 10px;
  background: var(--st-background-color); border: 1px solid var(--st-primary-color);
  box-shadow: 0 3px 14px rgba(0, 0, 0, .22); }
.count { font-weight: 650; } .count:empty { display: none; }
.bar button, .bar select, .bar .name, .zoom button { font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 8px); padding: .1rem .6rem;
  min-height: 2rem; cursor: pointer; }
.bar select, .bar .name { background: var(--st-secondary-background-color); cursor: auto; }
.bar .name { width: 8rem; } .bar select { width: 8.5rem; }
.bar button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
.strength { vertical-align: middle; width: 7rem; accent-color: var(--st-primary-color); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--size), 100%), 1fr)); gap: 10px; }
.box { position: relative; min-width: 0; }
.card { display: block; height: 100%; box-sizing: border-box; border-radius: 8px; color: inherit; text-decoration: none;
  border: 1px solid var(--st-border-color); border-bottom: 5px solid var(--cell); padding: 4px; }
.card:hover { border-color: var(--st-primary-color); border-bottom-color: var(--cell); }
a:focus-visible, button:focus-visible, input:focus-visible, select:focus-visible {
  outline: 3px solid var(--st-primary-color); outline-offset: 1px; }
.chosen .card { background: color-mix(in srgb, var(--st-primary-color) 18%, transparent);
  box-shadow: 0 0 0 2px var(--st-primary-color); }
.tick, .larger { position: absolute; top: 8px; width: 26px; height: 26px; border-radius: 6px; padding: 0; font: inherit;
  line-height: 24px; text-align: center; cursor: pointer; border: 1px solid rgba(0, 0, 0, .55); color: #111;
  background: rgba(255, 255, 255, .85); }
.tick { left: 8px; } .larger { right: 8px; opacity: 0; }
.box:hover .larger, .box:focus-within .larger { opacity: 1; }
.chosen .tick { background: var(--st-primary-color); color: #fff; border-color: #fff; }
.pictures { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; }
.frame { position: relative; display: block; aspect-ratio: 1; width: 100%; overflow: hidden; border-radius: 6px;
  background: var(--st-secondary-background-color); }
.frame img { width: 100%; height: 100%; object-fit: contain; display: block; }
.frame .heat { position: absolute; inset: 0; opacity: var(--heat); }
.frame .missing { position: absolute; inset: 0; display: grid; place-items: center; text-align: center; padding: 4px; }
.frame .label { position: absolute; left: 4px; bottom: 4px; background: rgba(0, 0, 0, .72); color: #fff; padding: 0 6px;
  border-radius: 4px; }
.words { display: block; padding: 3px 3px 1px; }
.title, .line { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.title { font-weight: 600; font-size: .95rem; letter-spacing: -.01em; } .line { opacity: .8; font-size: .95rem; }
.tags { display: flex; flex-wrap: wrap; gap: 3px; }
.tag { border-radius: 9px; padding: 0 7px; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); max-width: 100%; overflow: hidden; text-overflow: ellipsis; }
.zoom { border: 1px solid var(--st-border-color); border-radius: 10px; padding: 14px; color: inherit;
  background: var(--st-background-color); max-width: 94vw; }
.zoom::backdrop { background: rgba(0, 0, 0, .55); }
.large { display: flex; gap: 10px; justify-content: center; }
.large .frame { width: min(78vh, 44vw); } .large .frame:only-child { width: min(78vh, 84vw); }
.large .frame:not(:nth-last-child(-n + 2):first-child):not(:only-child) { width: min(60vh, 29vw); }
.zoom p { margin: 8px 0; font-weight: 600; white-space: pre-wrap; }
"""
