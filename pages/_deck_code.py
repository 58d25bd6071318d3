"""JavaScript and CSS of the list of slides: dragged or moved with buttons, titles and notes edited in place."""

START = """
const visible = (text) => String(text).replace(/[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]/g, '\\ufffd');
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) { node.textContent = visible(text); node.dir = 'auto'; }
  return node;
};
const button = (words, cls, act, title) => {
  const node = make('button', cls, words);
  node.type = 'button';
  if (title) { node.title = visible(title); node.setAttribute('aria-label', visible(title)); }
  node.addEventListener('click', act);
  return node;
};
"""

DECK_JS = (
    START
    + """
export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const state = JSON.stringify(data);
  if (!root || root.dataset.state === state) return;
  root.dataset.state = state;
  const tell = (act) => setTriggerValue('act', act);
  const tree = root.getRootNode();
  const held = tree.activeElement && tree.activeElement.dataset ? tree.activeElement : null;
  const edits = held && held.dataset.edits;
  const typing = edits ? { edits, value: held.value, was: held.dataset.was } : null;
  const focus = held ? held.dataset.edits || held.dataset.does : null;
  let dragged = null;

  const field = (tag, item, name, words) => {
    const node = make(tag, name);
    node.value = item[name]; node.dir = 'auto'; node.dataset.edits = item.key + ' ' + name;
    node.dataset.was = item[name];
    node.setAttribute('aria-label', words + ' of slide ' + item.place);
    if (typing && typing.edits === node.dataset.edits && typing.value !== typing.was) node.value = typing.value;
    node.addEventListener('change', () => {
      if (node.value !== node.dataset.was) tell({ do: name, key: item.key, text: node.value, was: node.dataset.was });
    });
    return node;
  };
  const does = (name, item, words, title, act) => {
    const node = button(words, 'tool', act, title);
    node.dataset.does = name + ' ' + item.key;
    return node;
  };
  const after = (index) => (index >= 0 ? data.items[index].key : '');

  const list = make('ol', 'deck');
  data.items.forEach((item, index) => {
    const row = make('li', 'slide');
    const handle = make('span', 'handle', '⠿');
    handle.draggable = true; handle.title = 'Drag to another place';
    handle.addEventListener('dragstart', (event) => {
      dragged = item.key; event.dataTransfer.setData('text/plain', item.key); event.dataTransfer.effectAllowed = 'move';
      event.dataTransfer.setDragImage(row, 20, 20);
      row.classList.add('dragged');
    });
    handle.addEventListener('dragend', () => {
      dragged = null;
      for (const other of list.children) other.classList.remove('dragged', 'above', 'below');
    });
    const lower = (event) => event.clientY > row.getBoundingClientRect().top + row.offsetHeight / 2;
    row.addEventListener('dragover', (event) => {
      if (!dragged) return;
      event.preventDefault();
      for (const other of list.children) other.classList.remove('above', 'below');
      row.classList.add(lower(event) ? 'below' : 'above');
    });
    row.addEventListener('drop', (event) => {
      if (!dragged) return;
      event.preventDefault();
      const keys = data.items.map((other) => other.key).filter((key) => key !== dragged);
      const place = keys.indexOf(item.key) + (lower(event) ? 1 : 0);
      if (dragged !== item.key) tell({ do: 'move', key: dragged, after: place ? keys[place - 1] : '' });
    });
    const words = make('div', 'words');
    const notes = make('details');
    notes.open = Boolean(typing && typing.edits === item.key + ' notes');
    notes.append(make('summary', '', item.notes ? 'Notes' : 'Add notes'), field('textarea', item, 'notes', 'Notes'));
    words.append(field('input', item, 'title', 'Title'));
    if (item.words || item.body) {
      const lines = field('textarea', item, 'body', 'Lines');
      lines.rows = Math.max(2, item.body.split('\\n').length);
      words.append(lines);
    }
    words.append(make('p', 'soft', [item.kind, item.told, item.note].filter(Boolean).join(' · ')), notes);
    const tools = make('div', 'tools');
    const up = does('up', item, '↑', 'Move slide ' + item.place + ' up',
      () => tell({ do: 'move', key: item.key, after: after(index - 2) }));
    const down = does('down', item, '↓', 'Move slide ' + item.place + ' down',
      () => tell({ do: 'move', key: item.key, after: after(index + 1) }));
    up.disabled = index === 0; down.disabled = index === data.items.length - 1;
    const show = () => tell({ do: 'present', key: item.key });
    tools.append(up, down, does('present', item, 'Present', 'Present from slide ' + item.place, show),
      does('delete', item, 'Delete', 'Delete slide ' + item.place, () => tell({ do: 'delete', key: item.key })));
    row.append(handle, make('span', 'place', item.place), words, tools);
    list.append(row);
  });
  root.replaceChildren(list);
  const again = [...root.querySelectorAll('[data-edits], [data-does]')]
    .find((node) => (node.dataset.edits || node.dataset.does) === focus);
  if (again) again.focus({ preventScroll: true });
}
"""
)

DECK_CSS = """
* { box-sizing: border-box; }
.root { font-family: var(--st-font); color: var(--st-text-color); }
.deck { list-style: none; margin: 0; padding: 0; }
.slide { display: grid; grid-template-columns: 26px 34px minmax(0, 1fr) auto; gap: 10px; padding: 12px 0;
  border-top: 1px solid var(--st-border-color); align-items: start; }
.slide.dragged { opacity: .4; } .slide.above { box-shadow: 0 -3px 0 var(--st-primary-color); }
.slide.below { box-shadow: 0 3px 0 var(--st-primary-color); }
.slide .handle { cursor: grab; font-size: 22px; line-height: 40px; opacity: .6; text-align: center; }
.slide .place { font-size: 1.2rem; line-height: 40px; font-weight: 650; text-align: end;
  font-variant-numeric: tabular-nums; }
.slide input, .slide textarea { font: inherit; color: inherit; background: transparent; width: 100%;
  border: 1px solid transparent; border-radius: 6px; padding: 5px 8px; }
.slide textarea.body { min-height: 0; }
.slide input { font-size: 1.15rem; font-weight: 600; } .slide textarea { min-height: 6.5em; font-size: 1rem;
  border-color: var(--st-border-color); }
.slide input:hover { border-color: var(--st-border-color); }
.slide input:focus, .slide textarea:focus { outline: 2px solid var(--st-primary-color); outline-offset: -1px;
  background: var(--st-background-color); }
.slide p { margin: 2px 8px; font-size: 1rem; opacity: .78; overflow-wrap: anywhere; }
.slide summary { margin: 2px 8px; font-size: 1rem; cursor: pointer; opacity: .85; width: fit-content; }
.slide .tools { display: flex; gap: 4px; flex-wrap: wrap; justify-content: end; }
.slide .tool { font: inherit; font-size: 1rem; color: inherit; background: transparent; cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 8px); min-height: 2.3rem;
  padding: 2px 12px; }
.slide .tool:hover:enabled, .slide .tool:focus-visible { border-color: var(--st-primary-color);
  color: var(--st-link-color, var(--st-primary-color)); }
.slide .tool:disabled { opacity: .35; cursor: default; }
@media (max-width: 900px) { .slide { grid-template-columns: 26px 28px minmax(0, 1fr); }
  .slide .tools { grid-column: 3; justify-content: start; } }
"""
