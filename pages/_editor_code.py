"""JavaScript and CSS of the SQL editor around CodeMirror; without the library it is a text area that works the same."""

JS = r"""
const visible = (text) => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = visible(text);
  return node;
};
const KEY = 'whylook-queries', KEPT = 40, NAME = 'SELECT over samples';
const earlier = () => { try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; } };
const remember = (text) => {
  if (!text.trim()) return;
  const kept = [text, ...earlier().filter((other) => other !== text)].slice(0, KEPT);
  try { localStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* a browser that keeps nothing */ }
};

// Values of the column before the cursor: label = '… , label IN ('a', '…
const valueSource = (latest) => (context) => {
  const before = context.state.sliceDoc(Math.max(0, context.pos - 400), context.pos);
  const found = before.match(/("[^"]+"|\w+)\s*(?:=|<>|!=|(?:\bNOT\s+)?\bIN\s*\([^()]*)\s*('?)((?:[^']|'')*)$/i);
  if (!found) return null;
  if (!found[2] && /\S/.test(found[3])) return null;
  const column = found[1].replace(/^"|"$/g, '').toLowerCase();
  const name = Object.keys(latest().values).find((key) => key.toLowerCase() === column);
  if (!name) return null;
  const from = context.pos - found[3].length - found[2].length;
  const options = latest().values[name].map((value) => {
    const literal = "'" + value.replaceAll("'", "''") + "'";
    return { label: literal, displayLabel: visible(value), type: 'text', apply: (view, _, start, end) => {
      const over = view.state.sliceDoc(end, end + 1) === "'" ? 1 : 0;
      view.dispatch({ changes: { from: start, to: end + over, insert: literal },
        selection: { anchor: start + literal.length } });
    } };
  });
  return { from, options, filter: true };
};

// The error on a line of its own under its place.
const errorField = (cm, setError) => {
  class Words extends cm.WidgetType {
    constructor(error) { super(); this.error = error; }
    eq(other) { return other.error.words === this.error.words && other.error.column === this.error.column; }
    toDOM() {
      const node = make('div', 'problem');
      node.append(make('span', 'caret', ' '.repeat(this.error.column - 1) + '^ '), make('span', '', this.error.words));
      return node;
    }
  }
  const marks = (state, error) => {
    if (!error) return cm.Decoration.none;
    const line = state.doc.line(Math.min(Math.max(1, error.line), state.doc.lines));
    const from = Math.min(line.from + error.column - 1, line.to);
    const word = state.sliceDoc(from, line.to).match(/^(\w+|.)/);
    const found = [];
    if (word) found.push(cm.Decoration.mark({ class: 'wrong' }).range(from, from + word[0].length));
    found.push(cm.Decoration.widget({ widget: new Words(error), block: true, side: 1 }).range(line.to));
    return cm.Decoration.set(found, true);
  };
  return cm.StateField.define({
    create: () => cm.Decoration.none,
    update: (value, change) => {
      for (const effect of change.effects) if (effect.is(setError)) return marks(change.state, effect.value);
      return change.docChanged ? cm.Decoration.none : value;
    },
    provide: (field) => cm.EditorView.decorations.from(field),
  });
};

const rich = (cm, place, root, latest, run) => {
  const t = cm.tags, setError = cm.StateEffect.define();
  const style = cm.HighlightStyle.define([
    { tag: t.keyword, class: 'keyword' }, { tag: [t.string, t.special(t.string)], class: 'string' },
    { tag: [t.number, t.bool, t.null], class: 'number' }, { tag: [t.lineComment, t.blockComment], class: 'comment' },
  ]);
  const language = cm.sql({ dialect: cm.PostgreSQL, schema: latest().schema, defaultTable: 'samples',
    upperCaseKeywords: true });
  const view = new cm.EditorView({
    parent: place, root: root.getRootNode(),
    state: cm.EditorState.create({ doc: latest().text, extensions: [
      cm.Prec.highest(cm.keymap.of([{ key: 'Ctrl-Enter', mac: 'Cmd-Enter', run: () => { run(); return true; } },
        { key: 'Ctrl-Enter', run: () => { run(); return true; } }])),
      cm.highlightSpecialChars(), cm.history(), cm.drawSelection(), cm.bracketMatching(), cm.closeBrackets(),
      cm.autocompletion({ icons: false, maxRenderedOptions: 60 }), language,
      language.language.data.of({ autocomplete: valueSource(latest) }),
      cm.syntaxHighlighting(style), cm.EditorView.lineWrapping, errorField(cm, setError),
      cm.keymap.of([...cm.closeBracketsKeymap, ...cm.completionKeymap, ...cm.historyKeymap, ...cm.defaultKeymap]),
      cm.EditorView.contentAttributes.of({ 'aria-label': NAME, spellcheck: 'false' }),
    ] }),
  });
  return {
    get: () => view.state.doc.toString(),
    set: (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }),
    fail: (error) => view.dispatch({ effects: setError.of(error) }),
    focus: () => view.focus(),
  };
};

const simple = (place, latest, run) => {
  const area = make('textarea', 'plain'), words = make('div', 'problem');
  area.setAttribute('aria-label', NAME); area.rows = 5; area.value = latest().text; area.spellcheck = false;
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  });
  place.append(area, words);
  return {
    get: () => area.value, set: (text) => { area.value = text; }, focus: () => area.focus(),
    fail: (error) => { words.textContent = error ? visible(error.words) : ''; },
  };
};

const build = (root, data) => {
  const editor = { data, text: data.text, area: null, send: null };
  const latest = () => editor.data;
  const place = make('div', 'place'), tools = make('div', 'tools'), list = make('div', 'history');
  const run = () => {
    const text = editor.area.get();
    remember(text); list.hidden = true;
    editor.send(text);
  };
  const go = make('button', 'run', '▶ Run'), old = make('button', '', 'History');
  go.type = old.type = 'button';
  go.addEventListener('click', run);
  old.setAttribute('aria-expanded', 'false'); list.hidden = true;
  old.addEventListener('click', () => {
    const texts = earlier();
    list.replaceChildren(...texts.map((text) => {
      const entry = make('button', 'entry', text); entry.type = 'button';
      entry.addEventListener('click', () => { editor.area.set(text); list.hidden = true; editor.area.focus(); });
      return entry;
    }));
    if (!texts.length) list.append(make('span', 'soft', 'Queries that you run are listed here, in this browser only.'));
    list.hidden = !list.hidden;
    old.setAttribute('aria-expanded', String(!list.hidden));
  });
  go.title = 'Ctrl+Enter runs it; Ctrl+Space completes tables, columns and values';
  tools.append(go, old);
  const beside = make('div', 'beside');
  beside.append(place, tools);
  root.replaceChildren(beside, list);
  editor.ready = import(new URL(data.library, window.location.origin).href)
    .then((cm) => { editor.area = rich(cm, place, root, latest, run); })
    .catch(() => { editor.area = simple(place, latest, run); });
  return editor;
};

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  if (!root) return;
  const fresh = !root.editor;
  const editor = root.editor || (root.editor = build(root, data));
  editor.send = (text) => setTriggerValue('act', { text, at: Date.now() });
  editor.data = data;
  editor.ready.then(() => {
    if (!fresh && editor.text !== data.text && editor.area.get() !== data.text) editor.area.set(data.text);
    editor.text = data.text;
    editor.area.fail(data.error && editor.area.get().trim() === data.text.trim() ? data.error : null);
    if (fresh && !data.error) remember(data.text);
  });
}
"""

CSS = """
.root { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem; position: relative; }
.place { border: 1px solid var(--st-border-color); border-radius: 8px; min-height: 4.8rem;
  background: var(--st-secondary-background-color); overflow: hidden; }
.place:focus-within { border-color: var(--st-primary-color); box-shadow: 0 0 0 1px var(--st-primary-color); }
.root .cm-editor { max-height: 15rem; background: transparent; color: inherit; }
.root .cm-editor.cm-focused { outline: none; }
.root .cm-scroller, .plain, .history .entry { font-family: var(--st-code-font, monospace); font-size: 1rem;
  line-height: 1.45; }
.cm-scroller { overflow: auto; }
.root .cm-editor .cm-cursor { border-left-color: var(--st-text-color); }
.root .cm-editor .cm-content { caret-color: var(--st-text-color); padding: 6px 4px; }
.root .cm-editor .cm-selectionLayer .cm-selectionBackground {
  background: color-mix(in srgb, var(--st-primary-color) 28%, transparent); }
.root .cm-editor .cm-matchingBracket { outline: 1px solid var(--st-primary-color);
  background: transparent; }
.root .cm-editor .cm-tooltip { background: var(--st-background-color); color: var(--st-text-color);
  border: 1px solid var(--st-border-color); border-radius: 6px; z-index: 100; }
.root .cm-editor .cm-tooltip-autocomplete > ul { font-family: var(--st-code-font, monospace); max-height: 14rem; }
.root .cm-editor .cm-tooltip-autocomplete > ul > li { padding: 2px 8px; }
.root .cm-editor .cm-tooltip-autocomplete > ul > li[aria-selected] { background: var(--st-primary-color); color: #fff; }
.keyword { color: var(--st-link-color, var(--st-primary-color)); font-weight: 600; }
.string { color: color-mix(in srgb, #d9480f 62%, var(--st-text-color)); }
.number { color: color-mix(in srgb, #0ca678 58%, var(--st-text-color)); }
.comment { opacity: .75; font-style: italic; }
.wrong { text-decoration: underline wavy #d92d20 2px; }
.problem { white-space: pre-wrap; padding: 0 6px; color: color-mix(in srgb, #d92d20 66%, var(--st-text-color));
  font-family: var(--st-code-font, monospace); }
.caret { white-space: pre; }
.plain { width: 100%; box-sizing: border-box; border: 0; background: transparent; color: inherit; padding: 8px;
  resize: vertical; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 8px; }
.tools { display: flex; flex-direction: column; gap: 6px; }
.tools button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 8px); padding: .1rem .9rem; min-height: 2.1rem; cursor: pointer; }
.tools .run { background: var(--st-primary-color); border-color: var(--st-primary-color); color: #fff; }
button:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
.history { display: flex; flex-direction: column; gap: 2px; max-height: 16rem; overflow: auto; margin-top: 6px;
  border: 1px solid var(--st-border-color); border-radius: 8px; padding: 6px; }
.history[hidden] { display: none; }
.history .entry { text-align: left; color: inherit; background: none; border: 0; border-radius: 4px; padding: 4px 8px;
  cursor: pointer; white-space: pre-wrap; overflow-wrap: anywhere; flex: none; }
.history .entry:hover { background: var(--st-secondary-background-color); }
.soft { opacity: .72; font-size: 1rem; }
"""
