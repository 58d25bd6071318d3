"""CSS of the one drawing component (_view_code)."""

from pages._view_stories import STORIES_CSS

CSS = """
.root { --small: max(16px, .95rem); font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem;
  line-height: 1.4;
  container-type: inline-size; overflow-wrap: anywhere; }
a { color: inherit; text-decoration: none; }
a:focus-visible, button:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
.soft { opacity: 0.68; }
.frame { position: relative; display: block; aspect-ratio: 1; width: 100%; overflow: hidden; border-radius: 6px;
  background: var(--st-secondary-background-color); }
.frame img { width: 100%; height: 100%; object-fit: contain; display: block; }
.frame .missing { position: absolute; inset: 0; display: grid; place-items: center; opacity: 0.6;
  font-size: var(--small);
  text-align: center; padding: 4px; }
.frame .label { position: absolute; left: 6px; bottom: 6px; background: rgba(0,0,0,.62); color: #fff;
  border-radius: 4px;
  padding: 0 6px; font-size: var(--small); }
.frame.small { width: 46px; border-radius: 4px; }
.dot { display: inline-block; width: 0.75em; height: 0.75em; border-radius: 50%; margin-right: 0.5em; flex: none; }
.top { display: block; scroll-margin-top: 12rem; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 26px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--size), 100%), 1fr)); gap: 14px; }
.card { display: block; border-radius: 8px; border: 1px solid var(--st-border-color);
  border-bottom: 5px solid var(--cell);
  padding: 6px; background: var(--st-background-color); transition: border-color .12s; }
.card:not(.dead):hover, .cell:not(.dead):hover { border-color: var(--st-primary-color);
  border-bottom-color: var(--cell); }
.card .pictures { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; }
.card .words { display: block; padding: 6px 4px 2px; }
.card .title { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; font-weight: 600;
  overflow: hidden; overflow-wrap: anywhere; line-height: 1.4; }
.card .line { display: block; opacity: 0.72; font-size: var(--small); overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.matrix { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; }
.cell { display: block; border: 1px solid var(--st-border-color); border-left: 8px solid var(--cell);
  border-radius: 8px;
  padding: 12px 14px; background: var(--st-background-color); min-width: 0; }
.cell:not(.dead):hover { border-left-color: var(--cell); border-bottom-color: var(--st-primary-color); }
.cell .name { display: block; font-weight: 600; }
.cell .numbers { display: flex; align-items: baseline; gap: 12px; flex-wrap: wrap; }
.cell .big { font-size: 2.6rem; font-weight: 650; line-height: 1.15; font-variant-numeric: tabular-nums; }
.cell .share { opacity: 0.72; font-variant-numeric: tabular-nums; }
.cell .strip { display: flex; flex-wrap: wrap; gap: 5px; margin-top: 8px; height: 58px; overflow: hidden; }
.cell .strip .frame { width: 58px; flex: none; }
.findings { list-style: none; margin: 0; padding: 0; }
.finding { display: grid; grid-template-columns: 2.2rem minmax(0, 1fr) 390px; gap: 14px; padding: 14px 0;
  border-top: 1px solid var(--st-border-color); }
.finding .rank { font-size: 1.55rem; font-weight: 650; line-height: 1.3; text-align: right; }
.finding .sentence { font-size: 1.15rem; margin: 2px 0 6px; overflow-wrap: anywhere; max-width: 62rem; }
.finding .evidence { font-size: var(--small); margin: 6px 0; max-width: 62rem; overflow-wrap: anywhere; }
.finding summary { cursor: pointer; font-size: var(--small); }
.finding pre { background: var(--st-secondary-background-color); border-radius: 6px; padding: 8px 12px; margin: 6px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: var(--small); }
.finding .copy { width: auto; }
.finding .pictures { display: grid; grid-template-columns: repeat(4, 57px); gap: 6px; align-content: start; }
.finding .compared .pictures { grid-template-columns: repeat(3, 57px); }
.finding .pictures .link { grid-column: 1 / -1; font-weight: 600; }
.finding .pictures .side { grid-column: 1 / -1; font-size: var(--small); line-height: 1.1; }
.finding .sides { display: flex; flex-wrap: wrap; gap: 10px 24px; align-content: start; }
.confusion { display: grid; gap: 3px; font-variant-numeric: tabular-nums;
  grid-template-columns: minmax(3rem, max-content) repeat(var(--classes), minmax(0, 1fr)); }
.confusion > * { min-width: 0; min-height: 2.25rem; display: grid; place-items: center; border-radius: 4px; }
.confusion .row, .confusion .column { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font-size: var(--small); }
.confusion .row { max-width: 9rem; line-height: 2.25rem; text-align: right; padding-right: 6px; }
.confusion .column { text-align: center; align-self: end; min-height: 0; padding-bottom: 4px; }
.confusion.many .column { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 8rem; text-align: left;
  justify-self: center; padding: 4px 0 0; }
.confusion.many a { font-size: var(--small); }
.confusion .none { background: color-mix(in srgb, var(--st-secondary-background-color) 60%, transparent); }
.confusion .right { background: color-mix(in srgb, var(--grey) calc(var(--strength) * .45), transparent); }
.confusion .wrong { background: color-mix(in srgb, var(--st-primary-color) var(--strength),
  var(--st-secondary-background-color)); }
.confusion .wrong { color: light-dark(#000, #fff); } .confusion .strong { color: #fff; }
.confusion a:hover { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.scroll { max-height: 640px; overflow: auto; border: 1px solid var(--st-border-color); border-radius: 8px; }
table.classes { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.classes th { position: sticky; top: 0; background: var(--st-secondary-background-color); font-weight: 600;
  font-size: var(--small);
  text-align: left; padding: 8px; z-index: 1; white-space: nowrap; }
.classes td { padding: 5px 8px; border-top: 1px solid var(--st-border-color); }
.classes .number { text-align: right; white-space: nowrap; }
.classes th.number { text-align: right; }
.classes .text { min-width: 5.5rem; max-width: 16rem; overflow-wrap: break-word; word-break: break-word; }
.classes .barcell { min-width: 60px; width: 24%; }
.link { color: var(--st-link-color, var(--st-primary-color)); }
.link:hover { text-decoration: underline; }
.track { position: relative; display: block; height: 14px; border-radius: 3px;
  background: var(--st-secondary-background-color); }
.track .fill { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--st-primary-color);
  opacity: .8; }
.track .whisker { position: absolute; top: 6px; height: 2px; background: var(--st-text-color); }
.track .whisker::before, .track .whisker::after { content: ''; position: absolute; top: -4px; width: 2px; height: 10px;
  background: var(--st-text-color); }
.track .whisker::before { left: 0; } .track .whisker::after { right: 0; }
.facts { border-collapse: collapse; width: 100%; }
.facts th { text-align: left; font-weight: 400; opacity: .7; width: 45%; }
.facts th, .facts td { padding: 6px 8px 6px 0; border-top: 1px solid var(--st-border-color); overflow-wrap: anywhere; }
.facts tr:first-child > * { border-top: 0; }
.hits { display: flex; flex-direction: column; gap: 12px; }
.hit { display: grid; grid-template-columns: minmax(180px, 300px) minmax(0, 1fr); gap: 18px;
  border: 1px solid var(--st-border-color);
  border-left: 8px solid var(--cell); border-radius: 8px; padding: 10px 14px 10px 10px; }
.hit .pictures { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 6px; align-content: start; }
.hit .title { display: flex; align-items: center; gap: .25em; flex-wrap: wrap; font-weight: 600; }
.hit .title > * { min-width: 0; }
.hit .title .soft { font-weight: 400; margin-left: .6em; }
.hit p { margin: 4px 0; overflow-wrap: anywhere; } .hit .quote { font-size: 1.15rem; }
.hit .foot { display: flex; gap: 18px; flex-wrap: wrap; font-size: var(--small); margin-top: 6px; }
mark { background: color-mix(in srgb, var(--st-primary-color) 24%, transparent); color: inherit; padding: 0 .15em;
  border-radius: 3px; font-weight: 600; }
.copy { font: inherit; font-size: var(--small); color: inherit;
  background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 8px); padding: .3rem .75rem; min-height: 2.5rem; cursor: pointer; width: 100%;
  white-space: nowrap; }
@container (max-width: 760px) {
  .finding { grid-template-columns: 2.2rem minmax(0, 1fr); } .finding .sides { grid-column: 2; }
}
@container (max-width: 560px) {
  .hit { grid-template-columns: minmax(0, 1fr); } .hit > .pictures { max-width: 300px; }
}
@container (max-width: 340px) { .matrix { grid-template-columns: minmax(0, 1fr); } }
.keep { width: auto; margin-top: 8px; min-height: 2.1rem; padding: .15rem .7rem; font-size: .95rem; }
.copy:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
CSS += STORIES_CSS
