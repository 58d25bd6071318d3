"""What analysts ask of a store, in DuckDB's SQL: every query here has to run."""

from __future__ import annotations

_TEXT = r"""
SELECT * FROM samples
FROM samples
FROM samples SELECT path, label LIMIT 5
TABLE samples
SELECT * FROM main.samples -- all of it
SELECT count(*), count(score), count(DISTINCT label) FROM samples
SELECT label, count(*) FILTER (NOT correct) AS wrong FROM samples GROUP BY ALL HAVING count(*) > 3 ORDER BY 2 DESC
SELECT label, avg(correct::INT) AS accuracy FROM samples GROUP BY label ORDER BY accuracy
SELECT * EXCLUDE (description, justification) FROM samples
SELECT * REPLACE (round(confidence, 2) AS confidence) FROM samples
SELECT * RENAME (label AS truth) FROM samples
SELECT * LIKE 'attention_%' FROM samples
SELECT COLUMNS('attention_.*') FROM samples
SELECT avg(COLUMNS('attention_.*|causal_.*')) FROM samples
SELECT COLUMNS(c -> c LIKE 'causal%') FROM samples
SELECT COLUMNS(* EXCLUDE (run, path)) FROM samples
SELECT min(COLUMNS(*)) FROM (SELECT confidence, margin FROM samples)
SELECT cell, count(*) FROM samples GROUP BY cell ORDER BY ALL
SELECT label, prediction, count(*) AS n FROM samples WHERE NOT correct GROUP BY ALL ORDER BY n DESC LIMIT 10
SELECT habitat, night, avg(score) FROM samples GROUP BY GROUPING SETS ((habitat), (night), ())
SELECT habitat, night, grouping(habitat, night) AS g, count(*) FROM samples GROUP BY ROLLUP (habitat, night)
SELECT habitat, label, count(*) FROM samples GROUP BY CUBE (habitat, label)
SELECT path FROM samples QUALIFY row_number() OVER (PARTITION BY label ORDER BY confidence DESC) <= 3
SELECT path, rank() OVER w, dense_rank() OVER w FROM samples WINDOW w AS (PARTITION BY label ORDER BY score)
SELECT path, lag(confidence) OVER (ORDER BY path), lead(confidence, 2, 0) OVER (ORDER BY path) FROM samples
SELECT path, avg(score) OVER (ORDER BY path ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM samples
SELECT path, sum(confidence) OVER (ORDER BY size RANGE BETWEEN 0.1 PRECEDING AND 0.1 FOLLOWING) FROM samples
SELECT path, count(*) OVER (ORDER BY label GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM samples
SELECT path, ntile(4) OVER (ORDER BY confidence), percent_rank() OVER (ORDER BY confidence) FROM samples
SELECT first_value(path) OVER w, last_value(path) OVER w FROM samples WINDOW w AS (PARTITION BY label ORDER BY size)
SELECT path, nth_value(path, 2 ORDER BY size) OVER (PARTITION BY label), cume_dist() OVER (ORDER BY size) FROM samples
SELECT path, quantile_cont(confidence, 0.5) OVER (PARTITION BY label) FROM samples
SELECT path, count(*) FILTER (WHERE correct) OVER (PARTITION BY label) FROM samples
WITH wrong AS (FROM samples WHERE NOT correct) SELECT w.label, width FROM wrong w JOIN images USING (image_id)
WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM a, b
WITH a AS MATERIALIZED (FROM samples), b AS NOT MATERIALIZED (FROM a WHERE correct) SELECT count(*) FROM b
WITH a(x, y) AS (SELECT label, score FROM samples) SELECT x, max(y) FROM a GROUP BY x
WITH samples AS (FROM samples WHERE night) SELECT count(*) FROM samples
WITH "by label" AS (SELECT label, count(*) n FROM samples GROUP BY 1) FROM "by label" ORDER BY n
WITH a AS (SELECT 1 AS x) SELECT (WITH b AS (FROM a) SELECT count(*) FROM b)
WITH a AS (SELECT 1 AS x) FROM a UNION ALL FROM a
WITH a AS (SELECT 1 AS x) SELECT * FROM (WITH b AS (SELECT x + 1 AS z FROM a) FROM b) q, a
FROM (WITH t AS (SELECT label FROM samples) FROM t) LIMIT 1
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t
WITH RECURSIVE t(n, f) AS (SELECT 1, 1 UNION ALL SELECT n + 1, f * (n + 1) FROM t WHERE n < 10) FROM t
WITH RECURSIVE a AS (SELECT 1 AS n), t AS (FROM a UNION SELECT t.n + 1 FROM t, a WHERE t.n < 9) SELECT sum(n) FROM t
WITH RECURSIVE t(a, b) USING KEY (a) AS (SELECT 1, 1 UNION SELECT a, b + 1 FROM t WHERE b < 4) FROM t
PIVOT samples ON label USING count(*)
PIVOT samples ON habitat USING avg(score) GROUP BY label
PIVOT samples ON habitat, night USING count(*) GROUP BY label ORDER BY label LIMIT 5
PIVOT samples ON habitat || '_' || night USING count(*), avg(confidence) AS c GROUP BY label
PIVOT (FROM samples WHERE NOT correct) ON prediction USING count(*) GROUP BY label -- confusions
PIVOT samples ON habitat IN ('snow', 'desert') USING count(*) GROUP BY label
PIVOT samples ON left(path, 1) USING count(*)
FROM (PIVOT samples ON habitat USING count(*) GROUP BY label) ORDER BY label
WITH p AS (PIVOT samples ON habitat USING count(*) GROUP BY label) SELECT * FROM p
WITH w AS (FROM samples WHERE NOT correct) PIVOT w ON habitat USING count(*) GROUP BY label
PIVOT (SELECT label, habitat FROM samples) ON (CASE WHEN habitat IN ('snow') THEN 'cold' ELSE 'warm' END)
PIVOT_WIDER samples ON cell USING count(*) GROUP BY label
SELECT * FROM samples PIVOT (count(*) FOR habitat IN ('meadow', 'desert', 'snow') GROUP BY label)
SELECT * FROM (SELECT label, habitat, score FROM samples) PIVOT (avg(score) AS s FOR habitat IN ('snow' AS cold))
UNPIVOT samples ON confidence, margin
UNPIVOT samples ON COLUMNS('attention_.*') INTO NAME statistic VALUE value
FROM samples UNPIVOT (value FOR name IN (confidence, margin, score))
FROM samples UNPIVOT INCLUDE NULLS (value FOR name IN (score, score_entropy))
SELECT list(path ORDER BY path) FROM samples GROUP BY label
SELECT list_transform(list(confidence), x -> round(x, 1)) FROM samples
SELECT list_filter([1, 2, 3], lambda x: x > 1), list_reduce([1, 2, 3], lambda a, b: a + b)
SELECT [x * 2 FOR x IN [1, 2, 3] IF x > 1]
SELECT list_sort(list_distinct(list(label))) FROM samples
SELECT list_aggregate(list(score), 'avg'), list_sum(list(margin)), list_max(list(margin)) FROM samples
SELECT probabilities[1], probabilities[1:2], len(probabilities) FROM predictions
SELECT unnest(probabilities) AS p FROM predictions
SELECT image_id, unnest(probabilities), generate_subscripts(probabilities, 1) FROM predictions
SELECT p.image_id, t.x FROM predictions p, unnest(p.probabilities) AS t(x)
SELECT list_position(class_names, 'cow'), array_to_string(class_names, ', ') FROM runs
SELECT list_zip([1, 2], ['a', 'b']), flatten([[1], [2]]), list_slice([1, 2, 3], 1, 2)
SELECT distribution[6], list_cosine_similarity(distribution, distribution) FROM judgements WHERE state = 'ok'
SELECT array_cosine_similarity(a.vector, b.vector) FROM embeddings a, embeddings b LIMIT 20
SELECT {'label': label, 'n': count(*)} AS s FROM samples GROUP BY label
SELECT s.l, struct_extract(s, 'n') FROM (SELECT struct_pack(l := label, n := count(*)) s FROM samples GROUP BY label)
SELECT unnest({'a': 1, 'b': 2})
SELECT map([1, 2], ['a', 'b'])[1], map_keys(MAP {'a': 1}), map_from_entries([('k', 1)])
SELECT row(label, score) FROM samples LIMIT 2
SELECT histogram(label) FROM samples
SELECT histogram(score, [1, 2, 3, 4, 5]) FROM samples
SELECT bin, count FROM histogram(samples, score)
FROM histogram(samples, confidence, bin_count := 5)
FROM histogram_values(samples, score, technique := 'equi-width')
FROM histogram_values(source := samples, col_name := score)
SELECT equi_width_bins(min(score), max(score), 5, true) FROM samples
SELECT quantile_cont(confidence, [0.1, 0.5, 0.9]), quantile_disc(label, 0.5), median(score), mode(label) FROM samples
SELECT approx_quantile(confidence, 0.9), reservoir_quantile(confidence, 0.5, 100) FROM samples
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY score), mad(score) FROM samples
SELECT corr(confidence, score), covar_samp(size, score), regr_slope(score, size), regr_r2(score, size) FROM samples
SELECT stddev(score), var_pop(score), skewness(score), kurtosis(score), entropy(label), sem(score) FROM samples
SELECT arg_max(path, confidence), arg_min(path, confidence, 3), max_by(label, score), max(score, 2) FROM samples
SELECT approx_count_distinct(label), approx_top_k(label, 2), any_value(path), bool_and(correct) FROM samples
SELECT string_agg(DISTINCT label, ', ' ORDER BY label), group_concat(label) FROM samples
SELECT count_if(correct), countif(night), product(margin), geomean(margin), favg(score), fsum(score) FROM samples
SELECT sum(score * weight) / sum(weight) AS mean_score, weighted_avg(score, weight) FROM samples
SELECT bit_xor(width), bit_count(max(width)) FROM images
SELECT upper(label), label.upper(), label[1], label[1:2], label || '!' FROM samples
SELECT samples.label.upper().lower() FROM samples
SELECT s.label.replace('cow', 'ox').length() FROM samples s
SELECT ('abc').upper(), list_value(1, 2).len()
SELECT split_part(path, '/', 1), string_split(path, '/')[2], parse_filename(path), parse_path(path) FROM samples
SELECT path FROM samples WHERE path SIMILAR TO '.*/0000[0-9]\.png' OR path GLOB 'cow/*' OR regexp_matches(path, '^c')
SELECT regexp_extract(path, '(\d+)\.png', 1)::INT, regexp_replace(label, '[aeiou]', '*', 'g') FROM samples
SELECT regexp_extract_all(description, '\w+'), regexp_split_to_array(description, ' ') FROM samples
SELECT regexp_split_to_table(description, ' ') AS word FROM samples
SELECT lower(word) AS w, count(*) FROM (SELECT unnest(string_split(description, ' ')) AS word FROM samples) GROUP BY w
SELECT levenshtein(label, prediction), jaccard(label, prediction) FROM samples
SELECT jaro_winkler_similarity(label, prediction), jaro_similarity(label, prediction) FROM samples
SELECT damerau_levenshtein('cow', 'cwo'), hamming('cow', 'cot'), editdist3('a', 'b')
SELECT path FROM samples WHERE description ILIKE '%snow%' AND justification NOT LIKE '%head%'
SELECT path FROM samples WHERE contains(description, 'head') OR starts_with(label, 'c') OR suffix(label, 'w')
SELECT stem('running', 'english'), strip_accents('é'), nfc_normalize('é'), reverse('abc'), repeat('ab', 3)
SELECT format('{} of {}', label, 3), printf('%.2f', score), lpad(label, 8, '.'), concat_ws('-', label, 'x') FROM samples
SELECT translate(label, 'c', 'k'), substr(label, 2, 1), position('o' IN label), trim(BOTH 'c' FROM 'cac') FROM samples
SELECT md5(label), sha256(label), hash(label), hex(label), base64(label::BLOB), to_base64('a'::BLOB) FROM samples
SELECT format_bytes(octet_length(thumbnail)), bit_length(path) FROM images LIMIT 3
SELECT ascii('a'), chr(97), unicode('é'), strlen('é'), length('é'), bar(score, 0, 5, 10) FROM samples
SELECT date_trunc('day', started), extract(hour FROM started), finished - started AS took FROM runs
SELECT strftime(started, '%Y-%m-%d'), age(started), epoch(started), datediff('day', started, now()) FROM runs
SELECT date_part(['year', 'month'], started), time_bucket(INTERVAL 1 HOUR, started), last_day(started::DATE) FROM runs
SELECT DATE '2026-01-31' + INTERVAL 1 MONTH, make_date(2026, 1, 1), strptime('2026', '%Y'), to_days(3), today()
SELECT current_date, current_timestamp, localtime, TIMESTAMP '2026-01-01' AT TIME ZONE 'Europe/Berlin'
SELECT * FROM range(DATE '2026-01-01', DATE '2026-01-05', INTERVAL 1 DAY)
SELECT settings->>'rows', settings->'$.seed', json_extract_string(settings, '$.images') FROM runs
SELECT key, value FROM runs, json_each(settings)
SELECT fullkey, type FROM runs, json_tree(counts)
SELECT json_keys(settings), json_type(counts), json_structure(settings), json_valid('{}') FROM runs
SELECT to_json(s), json_object('a', score), json_group_array(label) FROM samples s GROUP BY ALL LIMIT 3
SELECT from_json(counts, '{"pictures": "INTEGER"}').pictures, json_array_length('[1,2]') FROM runs
SELECT json_merge_patch('{"a":1}', '{"b":2}'), json_group_object(label, score) FROM samples
SELECT a.path, b.path FROM samples a JOIN samples b ON a.label = b.label AND a.path < b.path LIMIT 10
SELECT a.image_id FROM samples a JOIN samples b USING (image_id) WHERE a.run <> b.run AND a.correct AND NOT b.correct
SELECT s.path, f.morf FROM samples s LEFT JOIN faithfulness f USING (image_id)
SELECT r.run, count(*) FROM runs r JOIN judge_card c ON c.fingerprint = r.judge_fingerprint GROUP BY 1
SELECT control, avg(score) FROM judge_card GROUP BY control
FROM judge_card
FROM faithfulness
SELECT * FROM samples s SEMI JOIN embeddings e USING (image_id)
SELECT * FROM samples s ANTI JOIN embeddings e USING (image_id)
SELECT * FROM samples NATURAL JOIN metadata
SELECT * FROM images i FULL OUTER JOIN predictions p ON i.image_id = p.image_id
SELECT * FROM (VALUES (1), (2)) a(x) CROSS JOIN (VALUES ('u')) b(y)
SELECT * FROM (FROM samples LIMIT 3) a POSITIONAL JOIN (FROM images LIMIT 3) b
SELECT a.path, b.path FROM samples a ASOF JOIN samples b ON a.label = b.label AND a.size > b.size
SELECT a.path, b.path FROM samples a ASOF LEFT JOIN samples b ON a.size > b.size
SELECT * FROM samples s, LATERAL (SELECT max(confidence) FROM predictions p WHERE p.image_id = s.image_id) m
SELECT l.label, t.path FROM (SELECT DISTINCT label FROM samples) l, (FROM samples s WHERE s.label = l.label LIMIT 2) t
SELECT path FROM samples s WHERE confidence > (SELECT avg(confidence) FROM samples t WHERE t.label = s.label)
SELECT path FROM samples s WHERE EXISTS (FROM judgements j WHERE j.image_id = s.image_id AND j.state = 'ok')
SELECT path FROM samples WHERE image_id IN (SELECT image_id FROM embeddings) AND label NOT IN ('horse')
SELECT path FROM samples WHERE score >= ALL (SELECT score FROM samples WHERE score IS NOT NULL)
SELECT path FROM samples WHERE label = ANY (['cow', 'camel'])
SELECT (SELECT count(*) FROM samples) AS pictures, ARRAY(SELECT DISTINCT label FROM samples) AS labels
SELECT label FROM samples UNION SELECT prediction FROM samples
SELECT label FROM samples EXCEPT SELECT prediction FROM samples
SELECT label FROM samples INTERSECT ALL SELECT prediction FROM samples
(SELECT label, 1 AS x FROM samples LIMIT 2) UNION ALL BY NAME (SELECT 2 AS x, path FROM samples LIMIT 2)
VALUES (1, 'a'), (2, 'b')
SELECT * FROM samples USING SAMPLE 10
SELECT * FROM samples TABLESAMPLE 20%
SELECT * FROM samples USING SAMPLE reservoir(5 ROWS) REPEATABLE (3)
SELECT setseed(0.4), random()
SELECT * FROM samples ORDER BY hash(image_id) LIMIT 10 OFFSET 5
SELECT * FROM samples ORDER BY score DESC NULLS LAST, path COLLATE NOCASE
SELECT DISTINCT ON (label) label, path, confidence FROM samples ORDER BY label, confidence DESC
SELECT label, correct, count(*) FROM samples GROUP BY 1, 2 ORDER BY 1, 2
SELECT CASE WHEN score > 4 THEN 'high' WHEN score > 2 THEN 'middle' ELSE 'low' END AS b FROM samples GROUP BY b
SELECT if(correct, 'yes', 'no'), coalesce(score, -1), nullif(label, 'cow'), ifnull(score, 0) FROM samples
SELECT path FROM samples WHERE confidence BETWEEN 0.3 AND 0.6 AND label IS DISTINCT FROM prediction
SELECT TRY_CAST(label AS INTEGER), CAST(score AS DECIMAL(4, 2)), confidence::VARCHAR, typeof(score) FROM samples
SELECT round(score), floor(score), ceil(score), sqrt(score), ln(confidence), greatest(score, 1) FROM samples
SELECT width // 10, width % 2, 7 & 3, 1 << 4, @(-3), 5 !, 2 ** 3, 2 ^ 3, xor(1, 3) FROM images
SELECT floor(confidence * 10) / 10 AS bin, avg(correct::INT) FROM samples GROUP BY bin ORDER BY bin -- calibration
SELECT width_bucket FROM (SELECT ceil(confidence * 5) AS width_bucket FROM samples)
SELECT run, count(*) AS pictures, avg(correct::INT) AS accuracy FROM samples GROUP BY run ORDER BY run
SELECT stage, reason, count(*) FROM failures GROUP BY ALL
SELECT state, count(*) FROM attributions GROUP BY state
SELECT list_max(map), list_sum(map), map[1:7] FROM attributions LIMIT 3
SELECT sentence, sql FROM findings ORDER BY rank
SELECT name, sql FROM slices UNION ALL SELECT title, sources FROM deck
SELECT * FROM metadata WHERE habitat = 'snow'
SELECT label AS l, count(*) AS n, n / sum(n) OVER () AS share FROM samples GROUP BY l
SELECT path, confidence AS c, c - margin AS second FROM samples WHERE c > 0.5
SELECT 1_000_000, 0xFF, 1e3, 'it''s', $$dollar$$, E'a\nb', '🐄', NULL, true
DESCRIBE samples
DESCRIBE SELECT label, score FROM samples
SUMMARIZE samples
SUMMARIZE SELECT confidence, score FROM samples WHERE correct
SHOW samples
SHOW TABLES
SHOW ALL TABLES
FROM (SHOW TABLES) WHERE name LIKE 'j%'
FROM (DESCRIBE samples) WHERE column_name LIKE 'attention%'
SELECT column_name, null_percentage FROM (SUMMARIZE samples)
EXPLAIN SELECT * FROM samples WHERE NOT correct
EXPLAIN ANALYZE SELECT label, count(*) FROM samples GROUP BY label
EXPLAIN WITH a AS (FROM samples) FROM a
SELECT version(), current_schema(), current_database()
SELECT uuid(), gen_random_uuid(), random() < 2
SELECT * FROM generate_series(1, 5) t(i), repeat_row('a', num_rows = 2) u
SELECT alias(label), typeof({'a': 1}), bin(5), to_binary(5), bitstring('101', 5) FROM samples LIMIT 1
SELECT enum_range(NULL::ENUM('a', 'b')), union_tag(union_value(k := 1)), [1, 2] && [2], [1, 2] @> [1]
SELECT label FROM samples WHERE label ^@ 'c' AND label ~ '.*o.*' AND label !~~ 'x%'
"""

QUERIES = _TEXT.strip().splitlines()
QUERIES += [
    'SELECT "label" AS "a ""b""" FROM samples',
    """
    -- pictures per decile of confidence
    SELECT decile, count(*) AS n, avg(correct::INT) AS accuracy
    FROM (SELECT *, ntile(10) OVER (ORDER BY confidence) AS decile FROM samples)
    GROUP BY decile
    ORDER BY decile;
    """,
    "SELECT /* a comment */ label -- another\nFROM samples",
    "PIVOT samples -- one column per habitat\nON habitat -- no values named\nUSING count(*) GROUP BY label;",
    "EXPLAIN\n-- how?\nSELECT 1",
]
