// The server, as the page sees it. The only module that opens connections.

import { readEvents } from "./events.js";
import { authorization, missing, refused } from "./api-key.js";

const POLL_INTERVAL_MS = 1000;
const AGAIN_MS = 1000;
const SUBMIT_TRIES = 4;
const OPEN = ["health", "openapi.json"]; // these want no key
// A browser opens six connections to one host, over all tabs: streams may not take those that videos need.
const MAX_STREAMS = 2;

let streams = 0;

/**
 * What the server refused, with the fields of its one error body. Without that body it was not the server: nobody
 * answered, or a proxy in front did. While the server starts that is a 404 or 500, which says nothing of any task; another
 * one is the proxy's own refusal, such as of a picture that is too large for it.
 */
export class ApiError extends Error {
  constructor(status, body) {
    const passing = body.error_code === undefined && (status === 0 || status === 404 || status >= 500);
    super(body.error ?? (passing ? notReady(status) : refusedOnTheWay(status)));
    this.passing = passing;
    this.gone = body.error_code === "not_found";
    this.field = body.field ?? null;
    this.allowed = body.allowed ?? null;
    this.given = body.given ?? null;
  }
}

const notReady = (status) => `The server is not ready: it answered ${status}. Try again in a moment.`;
const refusedOnTheWay = (status) => `A proxy in front of the server refused this, with status ${status}.`;

async function call(path, options = {}) {
  const open = OPEN.includes(path);
  if (!open && missing()) throw new ApiError(401, { error_code: "unauthorized", error: "This server asks for an API key: enter it above." });
  let answer;
  try {
    const headers = open ? options.headers : { ...options.headers, ...authorization() };
    answer = await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch {
    throw new ApiError(0, { error: "The server does not answer. Is it running?" });
  }
  const body = parse(await answer.text().catch(() => ""));
  if (answer.status === 401) refused();
  if (!answer.ok) throw new ApiError(answer.status, body);
  return body;
}

/** A JSON body; a seed that JavaScript would round, beyond 2^53, stays its digits. */
function parse(text) {
  try {
    return JSON.parse(text.replace(/("seed":\s*)(\d{16,})/g, '$1"$2"'));
  } catch {
    return {};
  }
}

/** The parameters of a video: name -> JSON schema with default and bounds. */
export async function parameters() {
  const openapi = await call("openapi.json");
  const content = openapi.paths["/v1/video/async_i2v"].post.requestBody.content;
  return content["multipart/form-data"].schema.properties;
}

export async function health() {
  try {
    return await call("health");
  } catch (error) {
    return { status: "unavailable", reason: error.message };
  }
}

/** Submit a task; `image` is a File or null. When the answer gets lost it is sent again, and still makes one task. */
export async function submit(fields, image) {
  const headers = { "Idempotency-Key": randomKey() };
  for (let tries = 1; ; tries += 1) {
    try {
      return await submitOnce(fields, image, headers);
    } catch (error) {
      if (!error.passing || tries === SUBMIT_TRIES) throw error;
      await pause(AGAIN_MS);
    }
  }
}

function submitOnce(fields, image, headers) {
  if (image === null) {
    const body = JSON.stringify(fields);
    return call("v1/video/async_t2v", { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body });
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value ?? "");
  form.append("image", image);
  return call("v1/video/async_i2v", { method: "POST", headers, body: form });
}

// crypto.randomUUID is not there on plain http to another host.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How a task stands now. */
export const look = (id) => call(`v1/video/tasks/${id}`);

/** Cancel a task, or delete a finished one with its files. */
export function remove(id) {
  return call(`v1/video/tasks/${id}`, { method: "DELETE" });
}

/** The file behind a task's `url`, from this page's own origin; with its signature, if it has one. */
export function fileUrl(url) {
  const { pathname, search } = new URL(url);
  return new URL(`outputs/${pathname.split("/").pop()}${search}`, document.baseURI).href;
}

/**
 * Hand the poll bodies of a task to `onBody`, until it has ended; a task that is gone is `null`. Returns a stop.
 * A queued task is polled, since a new place in the queue is no event; a running one is streamed where a stream is free.
 */
export function follow(id, onBody) {
  let stop = () => {};
  let ended = false;
  let mayStream = true;
  const start = () => {
    stop();
    if (!ended && !document.hidden) stop = poll(id, receive);
  };
  const refuse = () => {
    mayStream = false;
    start();
  };
  const end = () => {
    ended = true;
    stop();
    document.removeEventListener("visibilitychange", start);
  };
  const receive = (body) => {
    if (body === null || body.status !== "processing") end();
    else if (body.state !== "queued" && mayStream && streams < MAX_STREAMS) {
      stop();
      stop = stream(id, receiveStreamed, refuse);
    }
    onBody(body);
  };
  const receiveStreamed = (body) => {
    if (body.status !== "processing") end();
    onBody(body);
  };
  document.addEventListener("visibilitychange", start);
  start();
  return end;
}

function stream(id, receive, refuse) {
  const controller = new AbortController();
  const { signal } = controller;
  let known = "";
  streams += 1;
  const close = () => {
    if (signal.aborted) return;
    streams -= 1;
    controller.abort();
  };
  const take = (event) => {
    known = event.id ?? known;
    if (!signal.aborted) receive(JSON.parse(event.data));
  };
  const connect = async () => {
    const headers = { ...authorization(), ...(known ? { "Last-Event-ID": known } : {}) };
    const answer = await fetch(new URL(`v1/video/tasks/${id}/events`, document.baseURI), { headers, signal });
    if (answer.status === 200) return readEvents(answer.body, take);
    close();
    refuse();
  };
  const goOn = async () => {
    while (!signal.aborted) {
      await connect().catch(() => {}); // a server that restarts is asked again
      await pause(AGAIN_MS);
    }
  };
  goOn();
  return close;
}

function poll(id, receive) {
  let timer = null;
  let stopped = false;
  const ask = async () => {
    try {
      const body = await look(id);
      if (!stopped) receive(body);
    } catch (error) {
      if (error.gone && !stopped) receive(null);
    }
    if (!stopped) timer = setTimeout(ask, POLL_INTERVAL_MS);
  };
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
