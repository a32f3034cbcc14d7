// The peer of our rebuild: Emmett's rebuildPostgreSQLProjections (which hands even a batch projection its events one by
// one). Arguments: URL, events, runs, report as JSON; writes the seconds of each rebuild as JSON.
import {
  getPostgreSQLEventStore, postgreSQLRawBatchSQLProjection, rebuildPostgreSQLProjections,
} from "@event-driven-io/emmett-postgresql";
import { SQL, dumbo } from "@event-driven-io/dumbo";
import { randomUUID } from "node:crypto";

const [connectionString, events, runs, report] = process.argv.slice(2);
const store = getPostgreSQLEventStore(connectionString);
await store.schema.migrate();
const BATCH = 200;
for (let n = 0; n < Number(events) / BATCH; n++) {
  // one writer: what several append at once, its reader may pass over (it orders by transaction, and goes on by position)
  await store.appendToStream(`problems-${n}`, Array.from({ length: BATCH }, () =>
    ({ type: "ProblemReported", data: { id: randomUUID(), ...JSON.parse(report) } })));
}

const pool = dumbo({ connectionString });
await pool.execute.command(SQL`create table problem (id uuid primary key, position bigint not null unique,
  version integer not null, area text not null, category text not null, title text not null,
  description text not null, status text not null, reported_at timestamptz not null default now())`);
const projection = postgreSQLRawBatchSQLProjection({
  name: "problems",
  canHandle: ["ProblemReported"],
  evolve: (batch) => [SQL`insert into problem select id, position, 1, area, category, title, description, 'reported'
    from json_to_recordset(${JSON.stringify(batch.map(({ data, metadata }) =>
      ({ ...data, position: String(metadata.globalPosition) })))}::json) as
    one (id uuid, position bigint, area text, category text, title text, description text)`],
});
const taken = [];
for (let run = 0; run < Number(runs); run++) {
  await pool.execute.command(SQL`truncate problem`);
  const consumer = rebuildPostgreSQLProjections({
    connectionString, projections: [{ projection, processorId: `rebuild-${run}` }],
    pulling: { batchSize: 2000, pullingFrequencyInMs: 1 },
  });
  const started = performance.now();
  await consumer.start();
  taken.push((performance.now() - started) / 1000);
  await consumer.close();
  const { rows } = await pool.execute.query(SQL`select count(*)::int as rows from problem`);
  if (rows[0].rows !== Number(events)) throw new Error(`${rows[0].rows} rows`);
}
console.log(JSON.stringify(taken));
await store.close();
await pool.close();
process.exit(0);
