// Calls the API of the server. No other module opens connections.

import { readEvents } from "./events.js";
import { authorization, missing, refused } from "./api-key.js";
import { AUDIO, placesOf } from "./image-fields.js";

const POLL_INTERVAL_MS = 1000;
const AGAIN_MS = 1000;
const SUBMIT_TRIES = 4;
const OPEN = ["health", "openapi.json"]; // these paths need no key
// A browser opens six connections to a host, over all tabs, so streams must leave some for videos.
const MAX_STREAMS = 2;

let streams = 0;

/**
 * An error response, with the fields of the server's error body. Without that body, the response did not come from the
 * server: nothing answered, or a proxy in front of it did. While the server starts, the proxy sends a 404 or 500, which
 * tells nothing about a task. Any other status is the proxy's own error, for example for an image that is too large.
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
  const answer = await request(path, options);
  const body = parse(await answer.text().catch(() => ""));
  if (!answer.ok) throw new ApiError(answer.status, body);
  return body;
}

async function request(path, options = {}) {
  const open = OPEN.includes(path);
  if (!open && missing()) throw new ApiError(401, { error_code: "unauthorized", error: "This server asks for an API key: enter it above." });
  const headers = open ? options.headers : { ...options.headers, ...authorization() };
  const answer = await fetch(new URL(path, document.baseURI), { ...options, headers }).catch(() => {
    throw new ApiError(0, { error: "The server does not answer. Is it running?" });
  });
  if (answer.status === 401) refused();
  return answer;
}

/** Parse a JSON body. A seed above 2^53, which JavaScript would round, stays a text of digits. */
function parse(text) {
  try {
    return JSON.parse(text.replace(/("seed":\s*)(\d{16,})/g, '$1"$2"'));
  } catch {
    return {};
  }
}

let description = null;

/** The server's OpenAPI document. It is asked for once. */
function describe() {
  description ??= call("openapi.json").catch((error) => {
    description = null;
    throw error;
  });
  return description;
}

/** Whether the server has a route. */
export const serves = async (path) => path in (await describe()).paths;

/** The parameters of a video: name -> JSON schema with default and limits. */
export async function parameters() {
  return formOf((await describe()).paths["/v1/video/async_i2v"]);
}

const formOf = (route) => route.post.requestBody.content["multipart/form-data"].schema.properties;

export async function health() {
  try {
    return await call("health");
  } catch (error) {
    return { status: "unavailable", reason: error.message };
  }
}

/**
 * Submit a task with its images. After a lost answer the submit is repeated and still creates one task. `route` is its
 * route, such as async_extend, where the images do not decide it.
 */
export async function submit(fields, images, route = routeOf(images)) {
  const headers = { "Idempotency-Key": randomKey() };
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(`v1/video/${route}`, fields, images, headers);
    } catch (error) {
      if (!error.passing || tries === SUBMIT_TRIES) throw error;
      await pause(AGAIN_MS);
    }
  }
}

/** What the server knows of each of its IC-LoRAs, which follow a control video: name -> {trigger, max_scale, control}. */
export async function controlLoras() {
  const route = (await describe()).paths[`/v1/video/${CONTROL}`];
  const known = route ? formOf(route).loras["x-loras"] : {};
  return Object.fromEntries(Object.entries(known ?? {}).filter(([, { control }]) => control));
}

/** The route of a video with given audio. */
export const FROM_AUDIO = "async_a2v";

/** The route of a video that follows a control video. */
export const CONTROL = "async_control";

/** The route of a video from a text, or from images or audio too. */
export function routeOf(given) {
  if (given.some(({ field }) => field === AUDIO)) return FROM_AUDIO;
  return given.length ? "async_i2v" : "async_t2v";
}

/** Let the server's language model write out a prompt. Returns the text; creates no task. */
export async function enhance(fields, images) {
  return (await post("v1/video/enhance", fields, images, {})).enhanced_prompt;
}

/** Whether a video fits the GPU and how long it takes. Creates no task. */
export const estimate = (fields, images) => post("v1/video/estimate", fields, images, {});

function post(path, fields, images, headers) {
  if (images.length === 0) {
    const body = JSON.stringify(fields);
    return call(path, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body });
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, asText(value));
  for (const { field, file } of images) form.append(field, file);
  for (const [name, value] of placesOf(images)) form.append(name, value);
  return call(path, { method: "POST", headers, body: form });
}

/** A value as a form has it: a list is JSON. */
export const asText = (value) => (Array.isArray(value) ? JSON.stringify(value) : (value ?? ""));

// crypto.randomUUID is not there on plain http to another host.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Get the current state of a task. */
export const look = (id) => call(`v1/video/tasks/${id}`);

/** Cancel a task, or delete an ended one with its files. */
export function remove(id) {
  return call(`v1/video/tasks/${id}`, { method: "DELETE" });
}

/** Convert a task's `url` to this page's own origin, and keep its signature if it has one. */
export function fileUrl(url) {
  const { pathname, search } = new URL(url);
  return new URL(`outputs/${pathname.split("/").pop()}${search}`, document.baseURI).href;
}

/** Download a file of a task, also where its `url` leads to a bucket, which this page may not read. */
export async function download(url, name) {
  const own = new URL(fileUrl(url));
  own.searchParams.set("redirect", "false");
  const answer = await request(own.href);
  if (!answer.ok) throw new ApiError(answer.status, parse(await answer.text().catch(() => "")));
  const content = await answer.blob();
  return new File([content], name, { type: content.type });
}

/** Get a preview of a task as a url of this page, to be revoked; null if it is gone. */
export async function preview(id, url) {
  const answer = await request(`v1/video/tasks/${id}/preview${new URL(url).search}`).catch(() => null);
  return answer?.ok ? URL.createObjectURL(await answer.blob()) : null;
}

/**
 * Call `onBody` with the poll bodies of a task until it has ended, or with `null` if the task does not exist any more.
 * `onPreview` is called with the url of a new preview that is told between two bodies.
 * Returns a function that stops this. A queued task is polled, because a new queue position causes no event. A running
 * task is streamed if a stream is free.
 */
export function follow(id, onBody, onPreview) {
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
      stop = stream(id, receiveStreamed, onPreview, refuse);
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

function stream(id, receive, receivePreview, refuse) {
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
    if (signal.aborted) return;
    const body = JSON.parse(event.data);
    if (event.event === "preview") receivePreview(body.url);
    else receive(body);
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
      await connect().catch(() => {}); // the server may be restarting: try again
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
