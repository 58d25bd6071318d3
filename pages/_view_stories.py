"""JavaScript and CSS of what discovery found: stories with pictures before and after, and quiet lines of sentences.

It runs inside the component of `_view_code.py`, with its helpers: all that comes from data is set as text.
"""

STORIES_JS = """
  const spoken = (cls, text) => {  // the word placebo says on hover what it is
    const line = make('p', cls);
    visible(text).split(/(placebo)/).forEach((piece) => {
      const part = make(piece === 'placebo' ? 'abbr' : 'span', '', piece);
      if (piece === 'placebo') part.title = data.placebo;
      line.append(part);
    });
    return line;
  };
  const drawPair = (pair) => {
    const box = make('span', 'change'), both = make('span', 'both');
    both.append(picture(pair.before), make('span', 'arrow', '→'), picture(pair.after));
    box.append(both);
    pair.words.forEach((line, index) => box.append(make('span', index ? 'fared' : 'called soft', line)));
    return box;
  };
  const drawStories = () => {
    const list = make('ol', 'stories');
    for (const item of data.items) {
      const row = make('li', item.rank ? 'story' : 'story alone');
      const words = make('div', 'words'), shows = make('div', 'shows');
      words.append(spoken('sentence', item.sentence));
      if (item.harm) words.append(make('p', 'harm', item.harm));
      if (item.described) words.append(make('p', 'described', item.described));
      if (item.pictures.length) {
        const to = anchor(item.target, 'held'), strip = make('span', 'strip');
        to.append(make('span', 'side soft', item.seen));
        for (const shown of item.pictures) strip.append(picture(shown));
        to.append(strip, make('span', 'link', item.link));
        shows.append(to);
      }
      if (item.pairs.length) {
        const changes = make('div', 'changes'), strip = make('div', 'strip');
        changes.append(make('span', 'side soft', item.changed));
        for (const pair of item.pairs) strip.append(drawPair(pair));
        changes.append(strip);
        shows.append(changes);
      }
      words.append(shows, spoken('evidence soft', item.evidence));
      if (item.sql) {
        const query = make('details');
        query.append(make('summary', 'soft', 'SQL'), make('pre', '', item.sql), copy('Copy SQL', item.sql));
        words.append(query);
      }
      if (item.keep) words.append(keeper(item));
      if (item.rank) row.append(make('span', 'rank', item.rank));
      row.append(words);
      list.append(row);
    }
    return list;
  };
  const drawAsides = () => {
    const list = make('ul', 'asides');
    for (const item of data.items) {
      const row = make('li');
      row.append(spoken('', item.sentence));
      const to = anchor(item.target, 'link'); to.textContent = item.link; row.append(to);
      list.append(row);
    }
    return list;
  };
"""

STORIES_CSS = """
.stories, .asides { list-style: none; margin: 0; padding: 0; }
.story { display: grid; grid-template-columns: 2.2rem minmax(0, 1fr); gap: 14px; padding: 16px 0 14px;
  border-top: 1px solid var(--st-border-color); --side: clamp(58px, 7.6cqw, 124px); }
.story.alone { grid-template-columns: minmax(0, 1fr); border-top: 0; }
.story .rank { font-size: 1.55rem; font-weight: 650; line-height: 1.3; text-align: right; }
.story p { margin: 0; max-width: 66rem; overflow-wrap: anywhere; }
.story .sentence { font-size: 1.3rem; font-weight: 600; line-height: 1.35; max-width: none; }
.story .harm, .story .described { font-size: 1rem; margin-top: 4px; }
.story .evidence { font-size: var(--small); font-variant-numeric: tabular-nums; }
.story .shows { display: flex; flex-wrap: wrap; gap: 12px 34px; margin: 12px 0 8px; }
.story .side { display: block; font-size: var(--small); margin-bottom: 5px; }
.story .strip { display: flex; flex-wrap: wrap; gap: 6px; }
.story .changes .strip { gap: 8px 20px; }
.story .frame { width: var(--side); flex: none; }
.story .held .link { display: inline-block; margin-top: 4px; font-weight: 600; }
.change { display: block; } .change .both { display: flex; align-items: center; gap: 5px; }
.change .called, .change .fared { display: block; font-size: var(--small); line-height: 1.35; overflow-wrap: anywhere;
  max-width: calc(2 * var(--side) + 26px); }
.change .fared { font-weight: 600; font-variant-numeric: tabular-nums; }
.story summary { cursor: pointer; font-size: var(--small); margin-top: 4px; }
.story pre { background: var(--st-secondary-background-color); border-radius: 6px; padding: 8px 12px; margin: 6px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: var(--small); }
.story .copy { width: auto; }
.asides li { display: flex; gap: 18px; justify-content: space-between; padding: 7px 0;
  border-top: 1px solid var(--st-border-color); }
.asides li:first-child { border-top: 0; }
.asides p { margin: 0; max-width: 66rem; overflow-wrap: anywhere; } .asides .link { white-space: nowrap; }
abbr { text-decoration: underline dotted; cursor: help; }
"""
