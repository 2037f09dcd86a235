"use strict";

const $ = (id) => document.getElementById(id);
const PARTS = ["motion", "sound", "reference", "feedback", "headers"];
let socket = null;
let connection = null;
let media = null;
let ended = false;

const number = (value, digits, unit) =>
  value === null || value === undefined ? "–" : `${value.toFixed(digits)}\u202f${unit}`;

function notice(text) {
  $("notice").hidden = text === "";
  $("notice-text").textContent = text;
}

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

async function openMedia() {
  const video = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 20, max: 30 } };
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (error) {
    if (error.name !== "NotFoundError" && error.name !== "NotReadableError") throw error;
    return await navigator.mediaDevices.getUserMedia({ video });  // no microphone
  }
}

async function connect() {
  connection = new RTCPeerConnection({ iceServers: [] });
  for (const track of media.getTracks()) {
    connection.addTransceiver(track, { direction: "sendonly", streams: [media] });
  }
  const remote = connection.addTransceiver("video", { direction: "recvonly" });
  const compared = connection.addTransceiver("video", { direction: "recvonly" });
  const sound = connection.addTransceiver("audio", { direction: "recvonly" });
  $("remote").srcObject = new MediaStream([remote.receiver.track]);
  $("compare-video").srcObject = new MediaStream([compared.receiver.track]);
  $("sound").srcObject = new MediaStream([sound.receiver.track]);
  $("sound").play().catch(() => { $("listen").hidden = false; });
  await connection.setLocalDescription(await connection.createOffer());
  await gathered(connection);
  const answer = await fetch("offer", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sdp: connection.localDescription.sdp }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  await connection.setRemoteDescription({ type: "answer", sdp: (await answer.json()).sdp });
  if (!media.getAudioTracks().length) $("mute").disabled = true;
}

function gathered(pc) {
  return new Promise((resolve) => {
    if (pc.iceGatheringState === "complete") resolve();
    pc.addEventListener("icegatheringstatechange", () => {
      if (pc.iceGatheringState === "complete") resolve();
    });
    setTimeout(resolve, 2000);
  });
}

function listen() {
  const url = new URL("socket", location.href);
  url.protocol = "ws:";
  socket = new WebSocket(url);
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    if (!ended) end("facecodec on this machine has ended. This page can be closed.");
  };
}

function end(text) {
  ended = true;
  if (connection) connection.close();
  if (media) media.getTracks().forEach((track) => track.stop());
  $("state").textContent = "ended";
  $("state").className = "pill ended";
  notice(text);
  $("invite-box").hidden = true;
  $("remote").srcObject = null;
  $("mark").hidden = $("gone").hidden = true;
  document.querySelectorAll("button").forEach((button) => { button.disabled = true; });
}

const NOTICES = {
  waiting: "Waiting for the other person",
  connecting: "Connecting",
  lost: "The connection is lost. Trying again",
};
const PICTURES = { live: "live", interpolated: "filled in", idle: "idle motion", lost: "connection lost", waiting: "–" };
const IDENTITIES = { unknown: "–", pinned: "same face", changed: "another face" };
const IDENTITIES_BY_FORM = { unknown: "–", pinned: "similar head", changed: "another head" };
const BY_FORM = "SFace is not installed here: only a wholly different head is noticed.";

function show(stats) {
  $("room").textContent = stats.room;
  $("state").textContent = stats.state;
  $("state").className = `pill ${stats.state}`;
  if (stats.state === "ended") return end(stats.message || "The call has ended. This page can be closed.");
  const away = stats.state === "connected" && stats.peer_camera === false;
  const early = stats.state === "connected" && stats.picture === "waiting";
  notice(NOTICES[stats.state] || (away ? "Their camera is off" : early ? "Waiting for their picture" : ""));
  $("invite-box").hidden = stats.state !== "waiting" || !stats.invite;
  $("invite").textContent = stats.invite || "";
  $("mark").hidden = stats.picture === "waiting";  // whatever lies over it, a picture is shown
  const gone = stats.state === "connected" && stats.picture === "lost" && !away;
  $("gone").hidden = !gone;
  $("remote").classList.toggle("stale", gone);
  const changed = stats.identity === "changed";
  $("warning").hidden = !(changed || stats.message);
  $("warning").textContent = changed
    ? "The face is not the one that this call began with. Make sure that you know who you are talking to."
    : stats.message || "";

  $("out-total").textContent = stats.out ? stats.out.total.toFixed(1) : "–";
  for (const part of PARTS) {
    const value = stats.out ? stats.out[part] : 0;
    $(`part-${part}`).textContent = value.toFixed(1);
    $(`bar-${part}`).style.flexGrow = Math.max(value, 0);
  }
  $("in-total").textContent = number(stats.in_kbps, 1, "kbit/s");
  $("loss-out").textContent = number(stats.loss_out, 1, "%");
  $("loss-in").textContent = number(stats.loss_in, 1, "%");
  $("rtt").textContent = number(stats.rtt_ms, 0, "ms");
  $("age").textContent = number(stats.age_ms, 0, "ms");
  $("fps").textContent = number(stats.fps, 1, "fps");
  $("picture").textContent = PICTURES[stats.picture] || stats.picture;
  const byForm = stats.identity_by === "form";
  $("identity").textContent = (byForm ? IDENTITIES_BY_FORM : IDENTITIES)[stats.identity] || stats.identity;
  $("identity-how").hidden = !byForm;
  $("identity-how").textContent = BY_FORM;
  $("identity").className = changed ? "bad" : stats.identity === "pinned" ? "good" : "";
  $("compare-rate").textContent = number(stats.h264_kbps, 1, "kbit/s");
}

function toggle(id, act) {
  $(id).addEventListener("click", () => {
    const on = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", String(on));
    act(on);
  });
}

function buttons() {
  toggle("mute", (on) => {
    media.getAudioTracks().forEach((track) => { track.enabled = !on; });
    say({ type: "mute", on });
  });
  toggle("camera", (on) => {
    media.getVideoTracks().forEach((track) => { track.enabled = !on; });
    say({ type: "camera-off", on });
  });
  toggle("compare", (on) => {
    $("compare-view").hidden = !on;
    say({ type: "compare", on });
  });
  $("refresh").addEventListener("click", () => say({ type: "refresh" }));
  $("listen").addEventListener("click", () => {
    $("sound").play().then(() => { $("listen").hidden = true; }).catch(() => {});
  });
  $("hang-up").addEventListener("click", () => {
    say({ type: "hang-up" });
    end("You have left. This page can be closed.");
  });
}

for (const part of PARTS) {
  $("bar").insertAdjacentHTML("beforeend", `<i id="bar-${part}" class="${part}"></i>`);
  $("parts").insertAdjacentHTML("beforeend", `<li class="${part}">${part}<b id="part-${part}">–</b></li>`);
}
buttons();
listen();
openMedia()
  .then((stream) => {
    media = stream;
    $("own").srcObject = stream;
    return connect();
  })
  .catch((error) => {
    $("warning").hidden = false;
    $("warning").textContent = `Camera or microphone cannot be used: ${error.message}`;
    notice("");
  });
