// What is going on, as the WebSocket tells it: the engine's state, my jobs, previews. One store for the whole page.

const FINISHED = ["done", "failed", "canceled"];
const KEEP_JOBS = 40;

class Live extends EventTarget {
  constructor() {
    super();
    this.connected = false;
    this.greeted = false;
    this.status = { state: "starting", message: "", fraction: null, device: "" };
    this.jobs = new Map();
    this.previews = new Map();
    this.deleted = new Set();
    this.waits = 0;
  }

  // Whether the engine can be asked.
  get answers() {
    return this.connected && ["warming", "ready"].includes(this.status.state);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.addEventListener("open", () => {
      this.waits = 0;
    });
    socket.addEventListener("message", (event) => this.take(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      this.connected = false;
      this.tell("connection");
      this.waits = Math.min(this.waits + 1, 6);
      setTimeout(() => this.connect(), 250 * 2 ** this.waits * (0.75 + Math.random() / 2));
    });
  }

  take(message) {
    const handler = this[`on_${message.kind}`];
    if (handler) handler.call(this, message);
  }

  tell(kind, detail = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
    this.dispatchEvent(new CustomEvent("change", { detail: kind }));
  }

  on_hello({ status, jobs }) {
    this.connected = true;
    this.greeted = true;
    this.status = status;
    this.jobs = new Map();
    for (const job of [...jobs].sort((a, b) => a.created_at - b.created_at)) this.jobs.set(job.id, { ...job });
    for (const id of [...this.previews.keys()]) if (!this.jobs.has(id)) this.previews.delete(id);
    this.tell("connection");
    this.tell("engine");
    this.tell("jobs");
  }

  on_engine_state({ state, message, fraction }) {
    this.status = { ...this.status, state, message, fraction };
    if (["restarting", "failed"].includes(state)) this.interrupt();
    this.tell("engine");
  }

  // The engine is gone: what it was painting waits for it to come back.
  interrupt() {
    for (const job of this.jobs.values()) {
      if (job.status !== "running") continue;
      this.jobs.set(job.id, { ...job, progress: { ...job.progress, stage: "waiting", eta_seconds: null } });
    }
    this.tell("jobs");
  }

  on_job({ job }) {
    const known = this.jobs.get(job.id);
    // What is over stays over, whatever arrives late.
    if (known && FINISHED.includes(known.status) && !FINISHED.includes(job.status)) return;
    // A job's own events may overtake its view: keep pictures and notices that it does not know yet.
    const images = merge(known?.images ?? [], job.images);
    const notices = job.notices.length >= (known?.notices?.length ?? 0) ? job.notices : known.notices;
    this.jobs.set(job.id, { ...job, images, notices });
    if (FINISHED.includes(job.status)) this.previews.delete(job.id);
    this.trim();
    this.tell("jobs", job.id);
    if (FINISHED.includes(job.status) && known?.status !== job.status) this.tell("finished", job.id);
  }

  // The studio took a job: the WebSocket may have told more of it by now, a short one may even be over.
  learn(job) {
    if (!this.jobs.has(job.id)) this.on_job({ job });
  }

  on_progress({ job_id, progress }) {
    const job = this.jobs.get(job_id);
    if (!job || FINISHED.includes(job.status)) return;
    this.jobs.set(job_id, { ...job, status: "running", progress, position: null });
    this.tell("jobs", job_id);
  }

  on_preview({ job_id, job_index, jpeg }) {
    const job = this.jobs.get(job_id);
    if (!job || FINISHED.includes(job.status)) return;
    const pictures = this.previews.get(job_id) ?? new Map();
    pictures.set(job_index, `data:image/jpeg;base64,${jpeg}`);
    this.previews.set(job_id, pictures);
    this.tell("jobs", job_id);
  }

  on_image({ image }) {
    const job = this.jobs.get(image.job_id);
    if (job) {
      this.jobs.set(job.id, { ...job, images: merge(job.images, [image]) });
      this.previews.get(job.id)?.delete(image.job_index);
    }
    this.tell("jobs", image.job_id);
    this.tell("image", image);
  }

  on_notice({ job_id, notice }) {
    const job = this.jobs.get(job_id);
    if (!job) return;
    this.jobs.set(job_id, { ...job, notices: [...job.notices, notice] });
    this.tell("jobs", job_id);
  }

  on_queue({ positions }) {
    for (const job of this.jobs.values()) {
      if (job.status === "queued") this.jobs.set(job.id, { ...job, position: positions[job.id] ?? job.position });
    }
    this.tell("jobs");
  }

  on_library(message) {
    this.tell("library", message);
  }

  on_history({ image_ids, action }) {
    for (const id of image_ids) {
      if (action === "deleted") this.deleted.add(id);
      if (action === "restored") this.deleted.delete(id);
    }
    this.tell("history", { ids: image_ids, action });
    this.tell("jobs");
  }

  on_fault({ error }) {
    this.tell("fault", error);
  }

  // A picture was marked by this page: every place that shows it should know.
  replaceImage(image) {
    const job = this.jobs.get(image.job_id);
    if (job?.images.some((known) => known.id === image.id)) {
      this.jobs.set(job.id, { ...job, images: merge(job.images, [image]) });
    }
    this.tell("jobs", image.job_id);
    this.tell("marked", image);
  }

  trim() {
    const old = [...this.jobs.values()].filter((job) => FINISHED.includes(job.status));
    for (const job of old.slice(0, Math.max(0, old.length - KEEP_JOBS))) this.jobs.delete(job.id);
  }

  active() {
    const jobs = [...this.jobs.values()].filter((job) => !FINISHED.includes(job.status));
    return jobs.sort((a, b) => (a.position ?? -1) - (b.position ?? -1) || a.created_at - b.created_at);
  }

  newestFirst() {
    return [...this.jobs.values()].sort((a, b) => b.created_at - a.created_at);
  }
}

function merge(known, fresh) {
  const byIndex = new Map(known.map((image) => [image.job_index, image]));
  for (const image of fresh) byIndex.set(image.job_index, image);
  return [...byIndex.values()].sort((a, b) => a.job_index - b.job_index);
}

export const live = new Live();
// Whether a job makes pictures to keep; merges and measurements stand in the queue as well.
export const paints = (job) => !["merge", "comparison", "measure"].includes(job.kind);
export const finished = (job) => FINISHED.includes(job.status);
