// Makes, polls, downloads and removes a video with OpenAI's package for Node. Prints what it got as JSON.
//
//     node openai_client.js http://HOST:PORT

import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none" });
const created = await client.videos.create({
  prompt: "Waves roll on.",
  model: "sora-2",
  size: "128x96",
  seconds: "1",
  num_inference_steps: 2,
});
let video = created;
while (video.status === "queued" || video.status === "in_progress") {
  await new Promise((resolve) => setTimeout(resolve, 200));
  video = await client.videos.retrieve(created.id);
}
const bytes = Buffer.from(await (await client.videos.downloadContent(created.id)).arrayBuffer());
let refusal;
try {
  await client.videos.create({ prompt: "Waves.", size: "128x0" });
} catch (error) {
  refusal = { status: error.status, param: error.param };
}
const removed = await client.videos.delete(created.id);
console.log(
  JSON.stringify({
    status: video.status,
    size: video.size,
    type: bytes.subarray(4, 8).toString(),
    refusal,
    deleted: removed.deleted,
  }),
);
