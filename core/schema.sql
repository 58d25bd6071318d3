-- What is in a published generation: every table, and the wide view `samples` that people write SQL against.
-- Schema `loaded` holds the rows of small shards, each with its shard's number; a view of each table's name in `main` has
-- those of large ones, too.
-- Knows: names, types, keys, how a run picks its rows. Does not know: how rows get here (core/store), who reads them (core/queries).
-- Rows of a stage are keyed by (fingerprint, image_id); a run names one fingerprint per stage. `metadata` is the one table
-- whose columns follow the user's data: core/store/metadata.py gives them real types.

-- section: tables
CREATE SCHEMA loaded;
CREATE TABLE store_info (version INTEGER, generation INTEGER, shape VARCHAR);
-- size in bytes and time of change in nanoseconds, by which a shard is known to be as it was; large: not loaded, read.
CREATE TABLE loaded_shards (table_name VARCHAR, name VARCHAR, size BIGINT, changed BIGINT, large BOOLEAN);
-- Rows of large shards in whose place a newer shard has another.
CREATE TABLE superseded (table_name VARCHAR, name VARCHAR, fingerprint VARCHAR, image_id VARCHAR);

CREATE TABLE runs (
    run VARCHAR PRIMARY KEY, started TIMESTAMP, finished TIMESTAMP, state VARCHAR, settings JSON,
    images_fingerprint VARCHAR, classifier_fingerprint VARCHAR, attribution_fingerprint VARCHAR,
    causal_fingerprint VARCHAR, judge_fingerprint VARCHAR, embedding_fingerprint VARCHAR,
    class_names VARCHAR[], counts JSON, seconds JSON, judge_note VARCHAR, judge_limits VARCHAR, high_score DOUBLE, version VARCHAR,
    attempt INTEGER, listing_attempt INTEGER  -- which attempt's failures without an image_id stand
);
CREATE TABLE loaded.images (
    fingerprint VARCHAR, image_id VARCHAR, path VARCHAR, paths VARCHAR[], label VARCHAR,
    width INTEGER, height INTEGER, thumbnail BLOB, near_hash BLOB, metadata VARCHAR,
    brightness FLOAT, contrast FLOAT, saturation FLOAT, warmth FLOAT, sharpness FLOAT, colour VARCHAR,
    shard INTEGER
);
CREATE TABLE metadata (fingerprint VARCHAR, image_id VARCHAR);
CREATE TABLE metadata_names (name VARCHAR, column_name VARCHAR, kinds VARCHAR[]);
CREATE TABLE loaded.predictions (
    fingerprint VARCHAR, image_id VARCHAR, prediction VARCHAR, confidence FLOAT, margin FLOAT,
    label_probability FLOAT, probabilities FLOAT[],
    shard INTEGER
);
CREATE TABLE loaded.attributions (
    fingerprint VARCHAR, image_id VARCHAR, state VARCHAR, reason VARCHAR,
    map FLOAT[], map_height INTEGER, map_width INTEGER,
    attention_area FLOAT, attention_entropy FLOAT, attention_border FLOAT, attention_x FLOAT, attention_y FLOAT,
    attention_islands INTEGER, attention_agreement FLOAT,
    causal_drop FLOAT, causal_drop_random FLOAT, causal_keep FLOAT,  -- until 0.1, of three random regions; now in checks
    seen FLOAT[],  -- the part of the picture that the map is of, where it is not the whole: top, left, bottom, right
    shard INTEGER
);
CREATE TABLE loaded.judgements (
    fingerprint VARCHAR, image_id VARCHAR, state VARCHAR, reason VARCHAR, description VARCHAR, justification VARCHAR,
    score FLOAT, score_entropy FLOAT, distribution FLOAT[6], seconds FLOAT, rubric_shift FLOAT,
    label_asked VARCHAR, label_score FLOAT,  -- the label that was scored where it is not the prediction
    shard INTEGER
);
CREATE TABLE loaded.judge_card (
    fingerprint VARCHAR, image_id VARCHAR, control VARCHAR, told VARCHAR, state VARCHAR, reason VARCHAR,
    score FLOAT, rubric_shift FLOAT, seconds FLOAT,
    shard INTEGER
);
CREATE TABLE loaded.embeddings (fingerprint VARCHAR, image_id VARCHAR, vector FLOAT[384], shard INTEGER);
CREATE TABLE loaded.faithfulness (
    fingerprint VARCHAR, image_id VARCHAR, morf FLOAT, lerf FLOAT, insertion FLOAT, road FLOAT,
    morf_random FLOAT, insertion_random FLOAT, randomised FLOAT,
    energy_inside FLOAT, energy_inside_flat FLOAT, energy_inside_edges FLOAT, pointing FLOAT,
    shard INTEGER
);
CREATE TABLE loaded.failures (run VARCHAR, attempt INTEGER, stage VARCHAR, image_id VARCHAR, path VARCHAR, reason VARCHAR, shard INTEGER);
CREATE TABLE slices (name VARCHAR, sql VARCHAR, note VARCHAR, saved TIMESTAMP);
CREATE TABLE findings (
    run VARCHAR, rank INTEGER, kind VARCHAR, sentence VARCHAR, sql VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE, n BIGINT,
    rest_value DOUBLE, rest_low DOUBLE, rest_high DOUBLE, rest_n BIGINT, evidence VARCHAR
);

-- What the model saw: float16 sketches of core/attribution/features.py; keyed as the attributions are.
CREATE TABLE loaded.features (
    fingerprint VARCHAR, image_id VARCHAR, pooled BLOB, places BLOB, detail BLOB, cell INTEGER[],
    shard INTEGER
);
-- The causal check of the pictures that a run chose for it.
CREATE TABLE loaded.checks (
    fingerprint VARCHAR, image_id VARCHAR, causal_drop FLOAT, causal_drop_random FLOAT, causal_draws INTEGER,
    shard INTEGER
);
-- What `whylook discover` found, of each picture: here the fingerprint is the run's name.
CREATE TABLE loaded.strategies (fingerprint VARCHAR, image_id VARCHAR, strategy VARCHAR, detail VARCHAR, cue VARCHAR, shard INTEGER);
-- What `whylook map` laid out: where each picture lies by what the model saw, and by what was said. The same key.
CREATE TABLE loaded.map (
    fingerprint VARCHAR, image_id VARCHAR, map_x FLOAT, map_y FLOAT, words_x FLOAT, words_y FLOAT,
    shard INTEGER
);
CREATE TABLE cues (
    run VARCHAR, cue VARCHAR, kind VARCHAR, class VARCHAR, words VARCHAR, verdict VARCHAR, reason VARCHAR,
    sql VARCHAR, n BIGINT, wrong DOUBLE, wrong_rest DOUBLE,
    effect DOUBLE, low DOUBLE, high DOUBLE, placebo DOUBLE, p DOUBLE, tested INTEGER,
    region DOUBLE[], prototypes VARCHAR[], examples JSON
);

-- What people called pictures, and said of their labels.
CREATE TABLE tags (image_id VARCHAR, tag VARCHAR, saved TIMESTAMP);

-- Slides kept for a meeting.
CREATE TABLE deck (
    position INTEGER, key VARCHAR, kind VARCHAR, run VARCHAR, title VARCHAR, body VARCHAR[], notes VARCHAR,
    figures JSON, sources JSON, page VARCHAR, saved TIMESTAMP
);

-- What people call the runs.
CREATE TABLE run_names (run VARCHAR, name VARCHAR, note VARCHAR, saved TIMESTAMP);

-- section: settled failures
-- An earlier attempt's failure goes once its picture was tried again: there is a later one, or the row that was wanting.
-- A path without an image_id is looked at by every attempt,
-- and written again only where that attempt found others: listing_attempt is the one under which they are kept.
DELETE FROM loaded.failures WHERE rowid IN (
    SELECT f.rowid
    FROM loaded.failures f
    JOIN runs r ON r.run = f.run AND r.attempt > f.attempt
    LEFT JOIN (SELECT run, stage, image_id, max(attempt) AS last FROM failures GROUP BY ALL) again
        ON again.run = f.run AND again.stage = f.stage AND again.image_id = f.image_id
    LEFT JOIN images i ON f.stage = 'images' AND i.fingerprint = r.images_fingerprint AND i.image_id = f.image_id
    LEFT JOIN predictions p
        ON f.stage = 'classifier' AND p.fingerprint = r.classifier_fingerprint AND p.image_id = f.image_id
    LEFT JOIN attributions a
        ON f.stage = 'attribution' AND a.fingerprint = r.attribution_fingerprint AND a.image_id = f.image_id
    LEFT JOIN checks k ON f.stage = 'causal' AND k.fingerprint = r.causal_fingerprint AND k.image_id = f.image_id
    LEFT JOIN judgements j
        ON f.stage = 'judge' AND j.fingerprint = r.judge_fingerprint AND j.image_id = f.image_id AND j.state <> 'failed'
    LEFT JOIN embeddings e
        ON f.stage = 'embedding' AND e.fingerprint = r.embedding_fingerprint AND e.image_id = f.image_id
    WHERE f.image_id IS NULL AND coalesce(r.listing_attempt, r.attempt) > f.attempt
       OR again.last > f.attempt
       OR coalesce(i.image_id, p.image_id, a.image_id, k.image_id, j.image_id, e.image_id) IS NOT NULL
);

-- section: words
-- The text index: of each explanation the stems of its words, their number in it, and how many words it has.
-- The empty table `texts` is there for what the index of DuckDB's extension brings: its stopwords and its tokenizer.
CREATE TABLE texts (document BIGINT, text VARCHAR);
CREATE TABLE documents (document BIGINT, fingerprint VARCHAR, image_id VARCHAR, length USMALLINT);
CREATE TABLE postings (word VARCHAR, document BIGINT, n USMALLINT, length USMALLINT);

-- section: new words
-- {said} has the judgements that are new.
DELETE FROM postings WHERE document IN (SELECT document FROM documents JOIN {said} USING (fingerprint, image_id));
DELETE FROM documents WHERE document IN (SELECT document FROM documents JOIN {said} USING (fingerprint, image_id));
CREATE OR REPLACE TEMP TABLE texts_said AS
SELECT (SELECT coalesce(max(document), 0) FROM documents) + row_number() OVER (ORDER BY fingerprint, image_id) AS document,
       fingerprint, image_id, concat_ws(' ', description, justification) AS text
FROM {said}
WHERE length(trim(concat_ws(' ', description, justification))) > 0;
CREATE OR REPLACE TEMP TABLE words_said AS
WITH every AS (SELECT document, unnest(fts_main_texts.tokenize(text)) AS said FROM texts_said)
SELECT document, stem(said, 'porter') AS word, least(count(*), 65535)::USMALLINT AS n FROM every
WHERE said <> '' AND said NOT IN (SELECT sw FROM fts_main_texts.stopwords) GROUP BY ALL;
INSERT INTO documents
SELECT document, fingerprint, image_id, coalesce(length, 0)
FROM texts_said LEFT JOIN (SELECT document, least(sum(n), 65535) AS length FROM words_said GROUP BY ALL) USING (document);
INSERT INTO postings SELECT word, document, n, length FROM words_said JOIN documents USING (document) ORDER BY ALL;
DROP TABLE words_said;
DROP TABLE texts_said;

-- section: chosen
-- The pictures that each run with a judge's budget chose; a run shows those judgements only.
CREATE OR REPLACE TABLE chosen AS
WITH ranked AS (
    SELECT r.run, i.image_id, (r.settings ->> 'judge_budget')::BIGINT AS budget,
           p.prediction <> i.label IS TRUE AS wrong,
           row_number() OVER (PARTITION BY r.run, wrong ORDER BY sha256('0 ' || i.image_id)) AS place,
           count(*) FILTER (wrong) OVER (PARTITION BY r.run) AS all_wrong,
           count(*) FILTER (NOT wrong) OVER (PARTITION BY r.run) AS all_others,
           least(all_wrong, greatest(ceil(budget * (2::DOUBLE / 3)), budget - all_others)) AS most_wrong
    FROM runs r
    JOIN images i ON i.fingerprint = r.images_fingerprint
    JOIN predictions p ON p.fingerprint = r.classifier_fingerprint AND p.image_id = i.image_id
    WHERE r.judge_fingerprint IS NOT NULL AND (r.settings ->> 'judge_budget') IS NOT NULL
)
SELECT run, image_id FROM ranked WHERE place <= CASE WHEN wrong THEN most_wrong ELSE budget - most_wrong END;

-- section: checked
-- The pictures that each run chose for the causal check: of those it had and those that `arriving_images` adds.
CREATE OR REPLACE TABLE checked AS
WITH known AS (
    {known}
)
SELECT run, image_id FROM known JOIN runs USING (run) WHERE causal_fingerprint IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY run ORDER BY sha256('[0, "' || image_id || '"]'))
    <= coalesce((settings ->> 'causal_sample')::BIGINT, {causal_sample});

-- section: told
-- What the distribution says of each picture's label, apart from the other joins: it is the widest column there is.
CREATE OR REPLACE TEMP TABLE told AS
WITH classes AS (
    SELECT run, label, min(place) AS place FROM (
        SELECT run, unnest(class_names) AS label, generate_subscripts(class_names, 1) AS place FROM runs
    ) GROUP BY ALL
)
SELECT r.run, r.image_id, p.probabilities[r.place] AS probability
FROM {predictions} p JOIN (
    SELECT r.run, r.classifier_fingerprint, i.image_id, c.place
    FROM {runs} r JOIN {images} i ON i.fingerprint = r.images_fingerprint
    JOIN classes c ON c.run = r.run AND c.label = i.label WHERE {which}
) r ON p.fingerprint = r.classifier_fingerprint AND p.image_id = r.image_id;

-- section: samples
-- core/columns.py lists its columns and puts them into the last SELECT; the user's metadata follow.
-- Kept as rows, not joined at each read: pages and user SQL scan one table. label_probability is taken from the
-- distribution, because predictions outlive a change of labels; probabilities and thumbnails stay in their own tables.
-- label_score: a judgement outlives it, too, so what was asked about another label than the run's is not shown.
-- mistake: what the greater of the two scores supports, where it is high, and where the description, for which the judge
-- is told no class, does not name the other of the two alone.
-- weight: how many pictures a judged one stands for. Wrong predictions and the others are two groups, of each of which a
-- uniform sample is judged (all of it without a budget), so it is (size of the group) / (judged of it). Another run may
-- have had more judged under the same fingerprint: a run shows the pictures of its own choice, the one that
-- core/judge/sampling.choose makes (a test compares them), because only those are a uniform sample of its groups.
-- causal_drop: of a uniform sample, the first of the run's pictures in the order of core/pipeline/run.in_random_order,
-- whatever else was checked under the same fingerprint (a test compares the two). What an older version checked, which
-- was every picture, stands beside the maps.
WITH own AS (
    SELECT r.run, j.* FROM {runs} r JOIN {judgements} j ON j.fingerprint = r.judge_fingerprint
    WHERE (r.settings ->> 'judge_budget') IS NULL
    UNION ALL
    SELECT r.run, j.* FROM chosen c JOIN {runs} r ON r.run = c.run
    JOIN {judgements} j ON j.fingerprint = r.judge_fingerprint AND j.image_id = c.image_id
), joined AS (
    SELECT r.run, i.image_id, i.path, i.label, p.prediction, p.prediction = i.label AS correct, p.confidence, p.margin,
           coalesce(q.probability, p.label_probability) AS label_probability,
           j.score, j.score_entropy, j.state AS judge_state, j.description, j.justification,
           CASE WHEN p.prediction = i.label THEN j.score WHEN j.label_asked = i.label THEN j.label_score END AS label_score,
           NULL::DOUBLE AS weight,
           coalesce(r.high_score, 2.5) AS high_score,
           CASE WHEN contains(lower(j.description), lower(i.label)) <> contains(lower(j.description), lower(p.prediction))
                THEN if(contains(lower(j.description), lower(i.label)), 'label', 'answer') END AS described,
           a.attention_area, a.attention_entropy, a.attention_border, a.attention_x, a.attention_y,
           a.attention_islands, a.attention_agreement,
           CASE WHEN r.causal_fingerprint IS NULL OR h.image_id IS NOT NULL
                THEN coalesce(k.causal_drop, a.causal_drop) END AS causal_drop,
           CASE WHEN r.causal_fingerprint IS NULL OR h.image_id IS NOT NULL
                THEN coalesce(k.causal_drop_random, a.causal_drop_random) END AS causal_drop_random,
           CASE WHEN r.causal_fingerprint IS NULL OR h.image_id IS NOT NULL
                THEN coalesce(k.causal_draws, CASE WHEN a.causal_drop_random IS NOT NULL THEN 3 END) END AS causal_draws,
           i.brightness, i.contrast, i.saturation, i.warmth, i.sharpness, i.colour, i.width / i.height AS aspect,
           t.strategy, t.detail, t.cue, l.map_x, l.map_y, l.words_x, l.words_y, coalesce(g.tags, []) AS tags, m.* EXCLUDE (fingerprint, image_id)
    FROM {runs} r
    JOIN {images} i ON i.fingerprint = r.images_fingerprint
    LEFT JOIN {metadata} m ON m.fingerprint = i.fingerprint AND m.image_id = i.image_id
    LEFT JOIN {predictions} p ON p.fingerprint = r.classifier_fingerprint AND p.image_id = i.image_id
    LEFT JOIN told q ON q.run = r.run AND q.image_id = i.image_id
    LEFT JOIN {attributions} a ON a.fingerprint = r.attribution_fingerprint AND a.image_id = i.image_id
    LEFT JOIN {checks} k ON k.fingerprint = r.causal_fingerprint AND k.image_id = i.image_id
    LEFT JOIN checked h ON h.run = r.run AND h.image_id = i.image_id
    LEFT JOIN {map} l ON l.fingerprint = r.run AND l.image_id = i.image_id
    LEFT JOIN {strategies} t ON t.fingerprint = r.run AND t.image_id = i.image_id
    LEFT JOIN (SELECT image_id, list(tag ORDER BY tag) AS tags FROM tags GROUP BY image_id) g ON g.image_id = i.image_id
    LEFT JOIN own j ON j.run = r.run AND j.image_id = i.image_id
    WHERE {which}
), sorted AS (
    SELECT *,
           CASE WHEN judge_state = 'ok' AND score IS NOT NULL AND correct IS NOT NULL THEN
               CASE WHEN correct THEN 'correct' ELSE 'wrong' END
               || CASE WHEN score >= high_score THEN '_high' ELSE '_low' END
           END AS cell,
           CASE WHEN cell LIKE 'wrong%' AND label_score IS NOT NULL THEN
               CASE WHEN greatest(score, label_score) < high_score THEN 'little support'
                    WHEN label_score > score AND described IS DISTINCT FROM 'answer' THEN 'label supported'
                    WHEN label_score <= score AND described IS DISTINCT FROM 'label' THEN 'answer supported' END
           END AS mistake
    FROM joined
)
SELECT {columns}, sorted.* EXCLUDE ({columns}, high_score, described)
FROM sorted
ORDER BY run, path

-- section: weights
UPDATE sample_rows s SET weight = w.weight FROM (
    SELECT run, prediction <> label IS TRUE AS wrong, count(prediction) / nullif(count(judge_state), 0) AS weight
    FROM sample_rows GROUP BY ALL
) w
WHERE w.run = s.run AND w.wrong = (s.prediction <> s.label IS TRUE) AND s.judge_state IS NOT NULL
    AND s.weight IS DISTINCT FROM w.weight;
