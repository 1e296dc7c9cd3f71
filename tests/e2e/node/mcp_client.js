// Makes a video and makes it longer with the official SDK of MCP for TypeScript. Prints what it got as JSON.
//
//     node mcp_client.js http://HOST:PORT

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "test", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(`${process.argv[2]}/mcp`)));

/** The structured answer of a tool. The SDK checks it against the tool's schema, which it has from the list. */
async function call(name, args) {
  const { structuredContent, isError, content } = await client.callTool({ name, arguments: args });
  if (isError) throw new Error(content[0].text);
  return structuredContent;
}

/** Wait until a video has ended. */
async function finish(video_id) {
  for (;;) {
    const video = await call("wait_for_video", { video_id, wait_seconds: 5 });
    if (!["queued", "processing"].includes(video.status)) return video;
  }
}

const tools = (await client.listTools()).tools.map((tool) => tool.name);
const prompt = "Waves roll on.";
const first = await finish((await call("create_video", { prompt, size: "64x64", seconds: 0.5 })).video_id);
const longer = await finish(
  (await call("edit_video", { operation: "extend", video: first.video_id, prompt, seconds: 0.5 })).video_id,
);
const file = Buffer.from(await (await fetch(longer.video_url)).arrayBuffer());
let refusal;
try {
  await call("create_video", { prompt, size: "64x0" });
} catch (error) {
  refusal = error.message;
}
await client.close();
console.log(
  JSON.stringify({
    tools,
    statuses: [first.status, longer.status],
    seconds: [first.seconds, longer.seconds],
    type: file.subarray(4, 8).toString(),
    refusal,
  }),
);
