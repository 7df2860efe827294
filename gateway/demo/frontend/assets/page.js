// A page that queues a text-to-image graph and shows what comes of it.
// All addresses are relative, so that it also works below a path of a gateway.

const PREVIEW_IMAGE = 1;
const PREVIEW_IMAGE_WITH_METADATA = 4;
const RECONNECT_MS = 1000;

const element = (id) => document.getElementById(id);
const at = (path) => new URL(path, document.baseURI);
let clientId = sessionStorage.getItem("clientId") ?? "";

function graph({ text, seed, steps }) {
  const node = (class_type, inputs) => ({ class_type, inputs });
  return {
    3: node("KSampler", {
      seed, steps, cfg: 8, sampler_name: "euler", scheduler: "normal", denoise: 1,
      model: ["4", 0], positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0],
    }),
    4: node("CheckpointLoaderSimple", { ckpt_name: "v1-5-pruned-emaonly.safetensors" }),
    5: node("EmptyLatentImage", { width: 512, height: 512, batch_size: 1 }),
    6: node("CLIPTextEncode", { text, clip: ["4", 1] }),
    7: node("CLIPTextEncode", { text: "blurry", clip: ["4", 1] }),
    8: node("VAEDecode", { samples: ["3", 0], vae: ["4", 2] }),
    9: node("SaveImage", { filename_prefix: "demo", images: ["8", 0] }),
  };
}

async function post(path, body) {
  const answer = await fetch(at(path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text.slice(0, 300)}`);
  return text ? JSON.parse(text) : null;
}

async function submit(event) {
  event.preventDefault();
  const wanted = { text: element("text").value, seed: Number(element("seed").value), steps: Number(element("steps").value) };
  try {
    await post("api/prompt", { prompt: graph(wanted), client_id: clientId, extra_data: {} });
    element("seed").value = wanted.seed + 1;
    element("message").textContent = "";
  } catch (failure) {
    element("message").textContent = failure.message;
  }
}

async function showQueue() {
  const answer = await fetch(at("api/queue"));
  if (!answer.ok) return;
  const { queue_running: running, queue_pending: pending } = await answer.json();
  const line = (item, state) => Object.assign(document.createElement("li"), { textContent: `${item[1]} ${state}` });
  const waiting = pending.sort((one, other) => one[0] - other[0] || (one[1] < other[1] ? -1 : 1));
  element("queue").replaceChildren(
    ...running.map((item) => line(item, "running")),
    ...waiting.map((item) => line(item, "pending")),
  );
}

function showPicture(address) {
  const picture = element("picture");
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  picture.src = address;
}

const heard = {
  status({ status, sid }) {
    if (sid) sessionStorage.setItem("clientId", clientId = sid);
    element("remaining").textContent = status.exec_info.queue_remaining;
    showQueue();
  },
  progress({ value, max }) {
    Object.assign(element("progress"), { value, max });
  },
  executed({ output }) {
    const image = output?.images?.[0];
    if (image) showPicture(at(`api/view?${new URLSearchParams(image)}`).href);
  },
  execution_error({ exception_message }) {
    element("message").textContent = exception_message;
  },
};

function showPreview(buffer) {
  const view = new DataView(buffer);
  const kind = view.getUint32(0);
  if (kind !== PREVIEW_IMAGE && kind !== PREVIEW_IMAGE_WITH_METADATA) return;
  const start = kind === PREVIEW_IMAGE ? 8 : 8 + view.getUint32(4);
  showPicture(URL.createObjectURL(new Blob([buffer.slice(start)])));
}

function connect() {
  const address = at("ws");
  address.protocol = address.protocol.replace("http", "ws");
  if (clientId) address.searchParams.set("clientId", clientId);
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => {
    element("connection").textContent = "connected";
    socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
  });
  socket.addEventListener("close", () => {
    element("connection").textContent = "disconnected";
    setTimeout(connect, RECONNECT_MS);
  });
  socket.addEventListener("message", ({ data }) => {
    if (typeof data !== "string") return showPreview(data);
    const message = JSON.parse(data);
    return heard[message.type]?.(message.data);
  });
}

element("submit").addEventListener("submit", submit);
element("interrupt").addEventListener("click", () => post("api/interrupt", {}));
connect();
