// What AsyncAPI's parser says of the document on stdin, as JSON: `read` whether it took it for one, and `found` what is
// wrong or doubtful in it (information and hints are left out).
import { text } from "node:stream/consumers";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
const found = diagnostics
  .filter(({ severity }) => severity < 2)
  .map(({ path, message }) => `${path.join("/")}: ${message}`);
const messages = document ? document.messages().length : 0;
console.log(JSON.stringify({ read: document !== undefined, messages, found }));
