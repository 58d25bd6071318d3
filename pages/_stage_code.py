"""JavaScript and CSS of the stage, which shows one slide over the whole screen.

As in `_view_code.py` all that comes from data is set as text or as an attribute, never as HTML. On the stage nothing
goes to Python but leaving it: arrow keys answer at once, and the address follows.
"""

from pages._deck_code import START

STAGE_JS = (
    START
    + """
export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const state = JSON.stringify(data);
  if (!root || root.dataset.state === state) return;
  root.dataset.state = state;
  const slides = data.slides;
  let at = Math.max(0, Math.min(slides.length - 1, data.start - 1));
  const open = { sources: false, notes: false };

  const picture = (shown) => {
    const to = shown.target ? make('a', 'picture') : make('span', 'picture');
    if (shown.target) {
      to.href = shown.target.href;
      to.addEventListener('click', (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault(); follow(shown.target.go);
      });
    }
    if (shown.src) {
      const image = make('img'), place = make('span', 'place');
      image.alt = visible(shown.label || shown.alt || 'picture');
      image.addEventListener('load', () => {
        image.style.setProperty('--ratio', image.naturalWidth / image.naturalHeight);
      });
      image.src = shown.src;
      place.append(image); to.append(place);
    } else to.append(make('span', 'missing', shown.missing || 'no picture'));
    if (shown.label) to.append(make('span', 'label', shown.label));
    return to;
  };
  const follow = (to) => { if (to) setTriggerValue('act', { do: 'go', page: to.page, ...to.state }); };
  const leave = () => {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    setTriggerValue('act', { do: 'leave' });
  };

  const drawFigures = (slide) => {
    const box = make('div', 'figures');
    for (const item of slide.figures) {
      const number = make('div', 'figure');
      for (let [cls, text] of [['shown', item.shown], ['of', item.words], ['quiet', item.quiet]]) {
        if (cls === 'shown' && text.length > 6) cls = 'shown long';
        if (text !== 'n ' + item.shown) number.append(make('span', cls, text));
      }
      box.append(number);
    }
    return box;
  };
  const drawPairs = (slide) => {
    const box = make('div', 'pairs');
    box.style.setProperty('--across', slide.pairs.length);
    for (const pair of slide.pairs) {
      const column = make('div', 'pair');
      column.append(picture({ ...pair.before, label: 'before' }), picture({ ...pair.after, label: 'after' }));
      const words = make('div', 'called');
      for (const line of pair.words) words.append(make('span', '', line));
      column.append(words);
      box.append(column);
    }
    return box;
  };
  const drawPictures = (slide) => {
    const n = slide.pictures.length;
    const box = make('div', 'pictures');
    box.style.setProperty('--across', n === 4 ? 2 : Math.min(3, n));
    box.style.setProperty('--down', n > 3 ? 2 : 1);
    box.classList.toggle('row', n <= 3);
    for (const shown of slide.pictures) box.append(picture(shown));
    return box;
  };
  const drawBars = (bars, shares) => {
    const box = make('div', 'bars');
    box.append(make('p', 'heading', bars.heading));
    const table = make('div', 'rows');
    bars.names.forEach((name, index) => {
      const track = make('span', 'track'), fill = make('span', 'fill'), whisker = make('span', 'whisker');
      fill.style.width = bars.values[index] * 100 + '%';
      whisker.style.left = bars.low[index] * 100 + '%';
      whisker.style.width = (bars.high[index] - bars.low[index]) * 100 + '%';
      track.append(fill, whisker);
      table.append(make('span', 'name', name), track, make('span', 'share', shares[index]));
    });
    box.append(table);
    return box;
  };
  const drawGrid = (grid) => {
    const box = make('div', 'table'), table = make('table');
    table.classList.toggle('many', grid.head.length > 7 || grid.rows.length > 8);
    const head = make('tr');
    for (const name of grid.head) head.append(make('th', '', name));
    table.append(head);
    for (const row of grid.rows) {
      const line = make('tr');
      row.forEach((text, index) => line.append(make(index ? 'td' : 'th', '', text)));
      table.append(line);
    }
    box.append(table);
    box.tabIndex = 0; box.setAttribute('role', 'group'); box.setAttribute('aria-label', 'table');
    return box;
  };
  const drawBody = (slide) => {
    const list = make('ul', 'body');
    for (const line of slide.body) list.append(make('li', '', line));
    return list;
  };

  const panel = (slide) => {
    const box = make('aside', 'panel');
    box.tabIndex = 0; box.setAttribute('aria-label', 'behind the slide');
    if (open.notes) box.append(make('h2', '', 'Notes'), make('p', 'notes', slide.notes || 'No notes.'));
    if (open.sources) {
      box.append(make('h2', '', 'Queries'));
      const queries = slide.figures.map((item) => [item.shown + ' ' + item.words, item.sql]);
      for (const sql of slide.sources) queries.push(['Behind the slide', sql]);
      for (const [words, sql] of queries) box.append(make('p', '', words), make('pre', '', sql));
      if (!slide.figures.length && !slide.sources.length) box.append(make('p', '', 'This slide has words only.'));
    }
    return box;
  };

  const draw = () => {
    const slide = slides[at];
    const stage = make('section', 'stage ' + slide.kind);
    stage.setAttribute('aria-label', 'slide ' + (at + 1) + ' of ' + slides.length);
    const length = [...slide.title].length;
    const title = make('h1', length <= 60 ? 'large' : length <= 130 ? 'medium' : 'small', slide.title);
    const middle = make('div', 'middle');
    const shows = slide.pairs.length ? drawPairs(slide) : slide.pictures.length ? drawPictures(slide)
      : slide.bars ? drawBars(slide.bars, slide.shares) : slide.grid ? drawGrid(slide.grid) : null;
    if (slide.body.length) middle.append(drawBody(slide));
    if (slide.figures.length) middle.append(drawFigures(slide));
    if (shows) middle.append(shows);
    middle.classList.toggle('alone', middle.children.length < 2);
    middle.classList.toggle('worded', slide.body.length > 0);
    const foot = make('footer');
    foot.append(make('p', 'quiet', [slide.quiet, slide.lost].filter(Boolean).join(' ')));
    const tools = make('nav');
    const behind = () => follow(slide.target.go);
    if (slide.target) tools.append(button('Open', '', behind, 'The page and the pictures behind it (Enter)'));
    tools.append(
      button('Queries', open.sources ? 'on' : '', () => toggle('sources'), 'The queries behind it (S)'),
      button('Notes', open.notes ? 'on' : '', () => toggle('notes'), 'Notes (N)'),
      button('Full screen', '', full, 'Full screen (F)'),
      button('‹', '', () => to(at - 1), 'Previous slide'),
      make('span', 'count', (at + 1) + ' / ' + slides.length),
      button('›', '', () => to(at + 1), 'Next slide'),
      button('Close', '', leave, 'Back to the list (Esc)'),
    );
    foot.append(tools);
    stage.append(title, middle, foot);
    if (open.sources || open.notes) stage.append(panel(slide));
    root.replaceChildren(stage);
    stage.tabIndex = -1;
    stage.focus({ preventScroll: true });
    const address = new URL(window.location.href);
    if (address.searchParams.get('slide') !== String(at + 1)) {
      address.searchParams.set('slide', at + 1);
      window.history.replaceState(window.history.state, '', address);
    }
  };
  const to = (place) => {
    const next = Math.max(0, Math.min(slides.length - 1, place));
    if (next !== at) { at = next; draw(); }
  };
  const toggle = (name) => { open[name] = !open[name]; draw(); };
  const full = () => {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    else document.documentElement.requestFullscreen().catch(() => {});
  };
  const keys = {
    ArrowRight: () => to(at + 1), ArrowDown: () => to(at + 1), PageDown: () => to(at + 1), ' ': () => to(at + 1),
    ArrowLeft: () => to(at - 1), ArrowUp: () => to(at - 1), PageUp: () => to(at - 1),
    Home: () => to(0), End: () => to(slides.length - 1),
    s: () => toggle('sources'), n: () => toggle('notes'), f: full, Escape: leave,
    Enter: () => slides[at].target && follow(slides[at].target.go),
  };
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const focused = event.composedPath()[0];
    const own = focused && ['BUTTON', 'A'].includes(focused.tagName) && [' ', 'Enter'].includes(event.key);
    const act = keys[event.key] || keys[event.key.toLowerCase()];
    if (!act || own) return;
    event.preventDefault(); event.stopPropagation();
    act();
  };
  if (root.stop) root.stop();
  document.addEventListener('keydown', press, true);
  root.stop = () => document.removeEventListener('keydown', press, true);
  draw();
  if (navigator.userActivation && navigator.userActivation.isActive && !document.fullscreenElement) full();
  return () => { if (root.stop) root.stop(); root.stop = null; delete root.dataset.state; };
}
"""
)

STAGE_CSS = """
* { box-sizing: border-box; }
.root { font-family: var(--st-font); color: var(--st-text-color); }
.stage { position: fixed; inset: 0; z-index: 2000000; background: var(--st-background-color); outline: none;
  display: grid; grid-template-rows: auto minmax(0, 1fr) auto; gap: clamp(12px, 2.2vh, 28px);
  padding: clamp(16px, 3.2vh, 40px) clamp(20px, 3.4vw, 72px) clamp(10px, 1.6vh, 20px); overflow: hidden; }
.stage h1 { margin: 0; padding: 0; line-height: 1.16; font-weight: 650; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
.stage h1.large { font-size: clamp(44px, 3.7vw, 84px); } .stage h1.medium { font-size: clamp(42px, 2.9vw, 64px); }
.stage h1.small { font-size: 40px; }
.stage .middle { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 7fr); gap: clamp(20px, 3vw, 64px);
  min-height: 0; align-items: center; }
.stage .middle.worded { grid-template-columns: minmax(0, 6fr) minmax(0, 4fr); }
.stage .middle.alone { grid-template-columns: minmax(0, 1fr); }
.stage .middle > * { min-height: 0; max-height: 100%; }
.stage .figures { display: flex; flex-direction: column; gap: clamp(16px, 5vh, 56px); }
.stage .figure { display: block; }
.stage .shown { display: block; font-size: clamp(56px, 6vw, 132px); line-height: 1; font-weight: 700;
  font-variant-numeric: tabular-nums; letter-spacing: -.02em; white-space: nowrap; }
.stage .shown.long { font-size: clamp(48px, 4.1vw, 92px); }
.stage .of { display: block; font-size: clamp(24px, 1.75vw, 40px); line-height: 1.25; margin-top: .25em;
  overflow-wrap: anywhere; }
.stage .quiet { display: block; font-size: clamp(16px, 1.1vw, 24px); opacity: .72; margin: .3em 0 0;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.stage .pictures { display: grid; height: 100%; gap: clamp(8px, .8vw, 18px); grid-template: repeat(var(--down),
  minmax(0, 1fr)) / repeat(var(--across), minmax(0, 1fr)); }
.stage .pictures.row { height: min(100%, calc(66vw / var(--across) + 56px)); }
.stage .picture { display: flex; flex-direction: column; min-height: 0; min-width: 0; align-items: center;
  justify-content: center; color: inherit; text-decoration: none; }
.stage .picture .place { flex: 1 1 auto; min-height: 0; width: 100%; container-type: size; display: grid;
  place-items: center; }
.stage .picture img { width: min(100cqw, calc(100cqh * var(--ratio, 1))); aspect-ratio: var(--ratio, 1);
  border-radius: 4px; outline: 1px solid var(--st-border-color); }
.stage a.picture:focus-visible, .stage a.picture:hover { outline: 3px solid var(--st-primary-color);
  outline-offset: 2px; border-radius: 4px; }
.stage .picture .label { flex: none; font-size: clamp(18px, 1.25vw, 28px); line-height: 1.3; padding-top: 2px;
  max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.stage .missing { flex: 1 1 auto; width: 100%; display: grid; place-items: center; min-height: 3em; font-size: 20px;
  background: var(--st-secondary-background-color); border-radius: 4px; }
.stage .pairs { display: grid; height: 100%; grid-template-columns: repeat(var(--across), minmax(0, 1fr));
  gap: clamp(10px, 1.6vw, 36px); }
.stage .pair { display: grid; min-height: 0; grid-template-rows: minmax(0, 1fr) minmax(0, 1fr) auto; gap: 6px; }
.stage .called span { display: block; text-align: center; font-size: clamp(18px, 1.3vw, 30px); line-height: 1.25;
  overflow-wrap: anywhere; } .stage .called span:last-child { font-weight: 650; }
.stage .bars { display: flex; flex-direction: column; height: 100%; min-height: 0; justify-content: center; }
.stage .heading { margin: 0 0 .6em; font-size: clamp(20px, 1.4vw, 30px); }
.stage .rows { display: grid; grid-template-columns: minmax(6ch, max-content) minmax(0, 1fr) max-content;
  gap: clamp(4px, 1.1vh, 14px) 18px; align-items: center; font-size: clamp(20px, 1.45vw, 34px); min-height: 0; }
.stage .rows .name { max-width: 16ch; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: end; }
.stage .rows .share { font-variant-numeric: tabular-nums; font-weight: 600; text-align: end; }
.stage .track { position: relative; height: clamp(14px, 2.6vh, 34px); border-radius: 4px;
  background: var(--st-secondary-background-color); }
.stage .fill { position: absolute; inset: 0 auto 0 0; border-radius: 4px; background: var(--st-primary-color); }
.stage .whisker { position: absolute; top: calc(50% - 2px); height: 4px; background: var(--st-text-color); }
.stage .whisker::before, .stage .whisker::after { content: ''; position: absolute; top: -6px; width: 4px; height: 16px;
  background: var(--st-text-color); } .stage .whisker::before { left: 0; } .stage .whisker::after { right: 0; }
.stage .table { overflow: auto; } .stage table { border-collapse: collapse; width: 100%; }
.stage table { font-size: clamp(22px, 1.8vw, 40px); } .stage table.many { font-size: clamp(18px, 1.2vw, 26px); }
.stage th, .stage td { padding: .3em .6em; border-bottom: 1px solid var(--st-border-color); text-align: end;
  font-weight: 500; font-variant-numeric: tabular-nums; } .stage td { font-weight: 650; }
.stage tr > :first-child { text-align: start; font-weight: 500; }
.stage .body { margin: 0; padding: 0; list-style: none; font-size: clamp(26px, 1.9vw, 44px); line-height: 1.3;
  overflow: auto; } .stage .body li { padding: .34em 0; overflow-wrap: anywhere; }
.stage .body li + li { border-top: 1px solid var(--st-border-color); }
.stage.title { grid-template-rows: minmax(0, 1fr) minmax(0, 1fr) auto; } .stage.title h1 { align-self: end; }
.stage.title h1.large { font-size: clamp(56px, 5.4vw, 128px); }
.stage.title h1.medium { font-size: clamp(48px, 4.2vw, 92px); }
.stage.title .middle { align-items: start; } .stage.title .body li { border: 0; opacity: .8; padding: .1em 0; }
.stage footer { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 24px; align-items: end; }
.stage footer .quiet { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden;
  margin: 0; line-height: 1.35; }
.stage nav { display: flex; gap: 2px; align-items: center; }
.stage nav button { font: inherit; font-size: 16px; color: inherit; opacity: .75; background: none; border: 0;
  padding: 6px 10px; border-radius: 6px; cursor: pointer; }
.stage nav button:hover, .stage nav button:focus-visible, .stage nav .on { opacity: 1;
  background: var(--st-secondary-background-color); }
.stage nav button:focus-visible { outline: 2px solid var(--st-primary-color); }
.stage .count { font-size: 18px; font-variant-numeric: tabular-nums; padding: 0 4px; }
.stage .panel { position: absolute; inset: auto 0 64px 0; max-height: 46vh; overflow: auto;
  padding: 20px clamp(20px, 3.4vw, 72px); background: var(--st-secondary-background-color);
  border-top: 1px solid var(--st-border-color); font-size: 20px; line-height: 1.45; }
.stage .panel h2 { margin: 0 0 6px; font-size: 20px; } .stage .panel p { margin: 0 0 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.stage .panel pre { margin: 0 0 14px; font-size: 16px; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 1000px) {
  .stage { overflow: auto; grid-template-rows: auto auto auto; }
  .stage .middle, .stage .middle.worded { grid-template-columns: minmax(0, 1fr); }
  .stage .middle > * { max-height: none; } .stage .pictures, .stage .pairs { height: auto; }
  .stage .picture .place { min-height: 40vw; }
  .stage footer { grid-template-columns: minmax(0, 1fr); } .stage nav { flex-wrap: wrap; }
}
"""
