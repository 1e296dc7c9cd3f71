// The server, as the page sees it. The only module that opens connections.

const POLL_INTERVAL_MS = 1000;
// A browser opens six connections to one host, over all tabs: streams may not take those that videos need.
const MAX_STREAMS = 2;

let streams = 0;

/** What the server refused, with the fields of its one error body. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.error ?? `the server answered ${status}`);
    this.status = status;
    this.field = body.field ?? null;
    this.allowed = body.allowed ?? null;
    this.given = body.given ?? null;
  }
}

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), options);
  } catch {
    throw new ApiError(0, { error: "The server does not answer. Is it running?" });
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(answer.status, body);
  return body;
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

/** Submit a task; `image` is a File or null. */
export function submit(fields, image) {
  if (image === null) {
    const body = JSON.stringify(fields);
    return call("v1/video/async_t2v", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value ?? "");
  form.append("image", image);
  return call("v1/video/async_i2v", { method: "POST", body: form });
}

/** Cancel a task, or delete a finished one with its files. */
export function remove(id) {
  return call(`v1/video/tasks/${id}`, { method: "DELETE" });
}

/** The file behind a task's `url`, from this page's own origin. */
export function fileUrl(url) {
  return new URL(`outputs/${new URL(url).pathname.split("/").pop()}`, document.baseURI).href;
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
  const source = new EventSource(new URL(`v1/video/tasks/${id}/events`, document.baseURI));
  let open = true;
  streams += 1;
  const close = () => {
    source.close();
    if (open) streams -= 1;
    open = false;
  };
  for (const name of ["progress", "completed", "failed"]) {
    source.addEventListener(name, (event) => receive(JSON.parse(event.data)));
  }
  source.addEventListener("error", () => {
    if (!open || source.readyState !== EventSource.CLOSED) return; // it connects again by itself
    close();
    refuse();
  });
  return close;
}

function poll(id, receive) {
  let timer = null;
  let stopped = false;
  const ask = async () => {
    try {
      const body = await call(`v1/video/tasks/${id}`);
      if (!stopped) receive(body);
    } catch (error) {
      if (error.status === 404 && !stopped) receive(null);
    }
    if (!stopped) timer = setTimeout(ask, POLL_INTERVAL_MS);
  };
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
