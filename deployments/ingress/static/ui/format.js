// Describes the activity of a task as text.

const STAGES = {
  starting: "Waking the model",
  loading: "Loading the model",
  upscaling: "Doubling its size",
  decoding: "Turning it into frames and audio",
  encoding: "Writing the MP4",
};

const REFINING_STEPS = 3;

export function statusOf(body) {
  if (body.state === "queued") return queued(body);
  if (body.state === "completed") return `Done in ${duration(body.finished_at - (body.started_at ?? body.created_at))}`;
  if (body.state === "canceled") return "Canceled";
  if (body.state === "expired") return "Expired: the server has removed the file";
  if (body.status === "failed") return "Failed";
  if (body.stage === "downloading") return `Downloading the model${bytes(body)}`;
  if (body.stage === "denoising") return `Step ${body.step} of ${body.num_inference_steps}`;
  if (body.stage === "refining") return `Refining, step ${body.step} of ${REFINING_STEPS}`;
  return STAGES[body.stage] ?? "Working";
}

/** The text for screen readers: only parts that change rarely. */
export function stageOf(body) {
  if (body.status === "processing" && body.stage === "denoising") return "Making the video";
  if (body.status === "processing" && body.stage === "refining") return "Refining the video";
  if (body.state === "queued") return "Waiting in the queue";
  if (body.stage === "downloading" && body.status === "processing") return "Downloading the model";
  return body.error ? `${statusOf(body)}: ${body.error}` : statusOf(body);
}

export function remaining(body) {
  if (body.status !== "processing" || typeof body.eta_s !== "number") return "";
  return `about ${duration(body.eta_s)} left`;
}

export function keptUntil({ expires_at: until }) {
  return `kept until ${new Date(until * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
}

/** The requested values that the model could not use. */
export function adjustments({ adjusted = [] }) {
  return adjusted.map(({ field, given, used, reason }) => `${field}: ${used || "none"}, not ${given} (${reason})`).join("; ");
}

export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

function queued({ paused, queue_position: position }) {
  if (paused) return "Waiting: the server is paused";
  if (!position) return "Waiting in the queue";
  return position === 1 ? "Next in the queue" : `Waiting, ${position - 1} before it`;
}

function bytes({ bytes_done: done, bytes_total: total }) {
  return total ? `: ${(done / 1e9).toFixed(1)} of ${(total / 1e9).toFixed(1)} GB` : "";
}
