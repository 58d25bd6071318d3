"""JavaScript and CSS of the map: regl-scatterplot, a legend that is clicked, the picture under the pointer, the lasso.

Places and colours arrive as bytes, since there may be a hundred thousand; the picture under the pointer is asked for
when it is wanted. All that comes from data is set as text.
"""

JS = r"""
const visible = (text) => String(text).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
const make = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = visible(text);
  return node;
};
const count = (n) => n.toLocaleString('en');
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const IN_SLICE = 128, HEIGHT = 560, FIT = .94;  // the map stays clear of the edges
const size = (n) => (n < 1000 ? 9 : n < 10000 ? 5 : n < 40000 ? 3 : 2);

const rgb = (colour) => {  // any colour of CSS as numbers, 0 to 1
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
};

const build = (root) => {
  const map = { root };
  map.bar = make('div', 'bar'); map.stage = make('div', 'stage'); map.legend = make('div', 'legend');
  map.canvas = make('canvas'); map.canvas.setAttribute('role', 'img'); map.canvas.tabIndex = 0;
  map.card = make('div', 'over'); map.card.hidden = true;
  map.stage.append(map.canvas, map.card);
  const tool = (words, says, does) => {
    const node = make('button', '', words);
    node.type = 'button'; node.title = says; node.addEventListener('click', does);
    map.bar.append(node);
    return node;
  };
  map.move = tool('Move', 'Drag to move, wheel to zoom; shift-drag circles pictures', () => mode(map, 'panZoom'));
  map.circle = tool('Lasso', 'Drag around pictures to make them the slice', () => mode(map, 'lasso'));
  tool('Whole map', 'Show the whole map', () => map.plot && map.plot.zoomToOrigin({ transition: true }));
  map.all = tool('Without lasso', 'Take the lasso out of the query', () => map.act('everything', {}));
  map.status = make('span', 'soft'); map.status.setAttribute('role', 'status'); map.bar.append(map.status);
  root.replaceChildren(map.bar, map.stage, map.legend);
  return map;
};

const mode = (map, name) => {
  map.mode = name;
  if (map.plot) map.plot.set({ mouseMode: name });
  map.move.setAttribute('aria-pressed', String(name === 'panZoom'));
  map.circle.setAttribute('aria-pressed', String(name === 'lasso'));
  map.stage.classList.toggle('circling', name === 'lasso');
};

const drawLegend = (map, data) => {
  const scale = data.legend.filter((entry) => entry.scale);
  const entries = data.legend.filter((entry) => !entry.scale).map((entry) => {
    const can = 'value' in entry;
    const node = make(can ? 'button' : 'span', 'entry');
    const dot = make('span', 'dot'); dot.style.background = entry.colour;
    node.append(dot, make('span', '', entry.words), make('span', 'soft', count(entry.n)));
    if (can) {
      node.type = 'button'; node.title = `${visible(data.column)}: ${visible(entry.words)}; click: only this`;
      node.addEventListener('click', () => map.act('value', { column: data.column, value: entry.value }));
    }
    return node;
  });
  if (scale.length) {
    const ramp = make('span', 'ramp');
    ramp.style.background = `linear-gradient(90deg, ${scale.map((entry) => entry.colour).join(', ')})`;
    const line = make('span', 'entry');
    line.append(make('span', '', scale[0].ends[0]), ramp, make('span', '', scale[0].ends[1]));
    entries.unshift(line);
  }
  map.legend.replaceChildren(...entries);
};

const over = async (map, index) => {
  map.hovered = index;
  const place = map.order[index], id = map.data.places ? map.placed[place] : place;
  if (!map.known.has(id)) {
    map.known.set(id, fetch(map.data.picture + id).then((answer) => (answer.ok ? answer.json() : null), () => null));
  }
  const found = await map.known.get(id);
  if (map.hovered !== index || !found) return null;
  const words = make('div', 'words');
  words.append(make('strong', '', found.title), ...found.lines.map((line) => make('span', '', line)));
  const picture = found.src ? make('img') : make('span', '', found.missing);
  if (found.src) { picture.src = found.src; picture.alt = ''; }
  map.card.replaceChildren(picture, words);
  const [x, y] = map.plot.getScreenPosition(index) || [0, 0];
  const wide = map.stage.clientWidth;
  map.card.style.left = Math.max(0, Math.min(wide - 190, x + 14)) + 'px';
  map.card.style.top = Math.max(0, Math.min(HEIGHT - 220, y - 60)) + 'px';
  map.card.hidden = false;
  return found;
};

const start = async (map, library) => {
  const { default: createScatterplot } = await import(new URL(library, window.location.origin).href);
  const width = map.stage.clientWidth || 800;
  const paper = rgb(getComputedStyle(map.root).getPropertyValue('--st-background-color') || '#fff');
  map.plot = createScatterplot({
    canvas: map.canvas, width, height: HEIGHT, aspectRatio: 1, backgroundColor: paper, pointColorHover: paper[0] > .5 ?
      [0, 0, 0, 1] : [1, 1, 1, 1], lassoColor: [.35, .39, .95, 1], lassoMinDelay: 0, pointSizeSelected: 2,
    lassoOnLongPress: true, opacityInactiveMax: 1, showReticle: false,
  });
  map.plot.subscribe('pointOver', (index) => { over(map, index); });
  map.plot.subscribe('pointOut', () => { map.hovered = null; map.card.hidden = true; });
  map.plot.subscribe('select', async ({ points }) => {
    map.plot.deselect({ preventEvent: true });
    if (map.circled || points.length !== 1) return;
    const found = await over(map, points[0]);
    if (!found) return;
    const text = JSON.stringify(map.data.target.go).replaceAll('IMAGE', found.image);
    map.go(JSON.parse(text));
  });
  map.plot.subscribe('lassoStart', () => { map.circled = true; map.card.hidden = true; });
  map.plot.subscribe('lassoEnd', ({ coordinates }) => {
    setTimeout(() => { map.circled = false; }, 0);
    if (coordinates.length < 3) return;
    map.act('lasso', { corners: coordinates.map(([x, y]) => [(x / FIT + 1) / 2, (y / FIT + 1) / 2]) });
  });
  new ResizeObserver(() => {
    const now = map.stage.clientWidth;
    if (now && Math.abs(now - map.plot.get('width')) > 1) map.plot.set({ width: now });
  }).observe(map.stage);
  mode(map, 'panZoom');
  if (map.canvas.matches(':hover')) map.canvas.dispatchEvent(new MouseEvent('mouseenter'));  // it came before the plot
};

const paint = async (map, data) => {
  const x = new Uint16Array(bytes(data.x).buffer), y = new Uint16Array(bytes(data.y).buffer), codes = bytes(data.codes);
  map.placed = data.places ? new Uint32Array(bytes(data.places).buffer) : null;
  const rest = [], inside = [];
  for (let at = 0; at < codes.length; at += 1) (codes[at] & IN_SLICE ? inside : rest).push(at);
  map.order = rest.concat(inside);  // those of the slice are drawn last, so that nothing hides them
  const points = { x: new Float32Array(data.n), y: new Float32Array(data.n), z: new Float32Array(data.n) };
  map.order.forEach((at, place) => {
    points.x[place] = FIT * (x[at] / 32767.5 - 1); points.y[place] = FIT * (y[at] / 32767.5 - 1);
    points.z[place] = codes[at] & IN_SLICE ? 1 + (codes[at] & 127) : 0;
  });
  const grey = rgb(data.grey);
  const paper = map.plot.get('backgroundColor');
  const pale = grey.map((part, at) => (at < 3 ? .35 * part + .65 * paper[at] : 1));
  const colours = [pale, ...data.legend.map((entry) => rgb(entry.colour))];
  map.plot.set({ colorBy: 'valueA', pointColor: colours, pointSize: size(data.n), opacity: 1 });
  await map.plot.draw(points, { zDataType: 'categorical' });
  map.root.dataset.drawn = String(data.n);
};

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector('.root');
  const state = JSON.stringify(data);
  if (!root || root.dataset.state === state) return;
  root.dataset.state = state;
  const map = root.map = root.map || build(root);
  map.data = data; map.known = map.picture === data.picture && map.known || new Map(); map.picture = data.picture;
  map.act = (name, more) => setTriggerValue('act', { act: name, at: Date.now(), ...more });
  map.go = (place) => setTriggerValue('go', place);
  map.all.hidden = !data.lasso;
  const part = data.inside < data.n ? `${count(data.inside)} in the slice, ` : '';
  map.status.textContent = `${part}${count(data.n)} on the map`;
  map.canvas.setAttribute('aria-label', `Map of ${count(data.n)} pictures, coloured by ${visible(data.column)}, ${
    count(data.inside)} of them in the slice. The view Table holds them as rows.`);
  drawLegend(map, data);
  map.ready = (map.ready || start(map, data.library)).then(() => paint(map, map.data)).catch((problem) => {
    map.stage.replaceChildren(make('p', '', 'This browser cannot draw the map: it takes WebGL, and an app that was '
      + 'started by `whylook app`. The views Table and Charts need neither.'));
    console.error(problem);
  });
}
"""

CSS = """
.root { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem; line-height: 1.35; }
[hidden] { display: none !important; }
.soft { opacity: .75; }
.bar, .legend { display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; padding: 2px 0 8px; }
.legend { padding: 8px 0 2px; }
button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--st-border-color);
  cursor: pointer; border-radius: var(--st-button-radius, 8px); padding: .1rem .6rem; min-height: 2rem; }
button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button[aria-pressed="true"] { border-color: var(--st-primary-color); font-weight: 600;
  box-shadow: inset 0 0 0 1px var(--st-primary-color); }
button:focus-visible, canvas:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 1px; }
.stage { position: relative; height: 560px; border: 1px solid var(--st-border-color); border-radius: 8px;
  overflow: hidden; }
.stage canvas { display: block; } .circling canvas { cursor: crosshair; }
.stage p { padding: 2rem; }
.over { position: absolute; width: 176px; padding: 6px; border-radius: 8px; background: var(--st-background-color);
  border: 1px solid var(--st-border-color); box-shadow: 0 3px 14px rgba(0, 0, 0, .3);
  pointer-events: none; z-index: 2; }
.over img { width: 100%; display: block; border-radius: 5px; }
.over .words { display: flex; flex-direction: column; padding: 4px 2px 0; overflow-wrap: anywhere; }
.entry { display: inline-flex; gap: 6px; align-items: center; max-width: 100%; overflow-wrap: anywhere; }
.dot { width: 13px; height: 13px; border-radius: 50%; flex: none; }
.ramp { width: 180px; height: 13px; border-radius: 4px; }
"""
