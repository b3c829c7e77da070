// The stream of changes. A browser allows six connections to a host, so only one tab of all opens the stream. It holds
// a lock, and tells the others. If it closes, another tab gets the lock, and continues after the last change.

const button = document.querySelector("button[data-live]");
const words = button?.querySelector("[data-live-text]");
const channel = new BroadcastChannel("stream");

let paused = false;
let away = true;

export const isPaused = () => paused;

function show() {
    button.setAttribute("aria-pressed", String(!paused));
    button.classList.toggle("away", away && !paused);
    words.textContent = paused ? "Paused" : away ? "No connection" : "Live";
}

// Calls `changed` with each batch of changes. After a pause or a gap it gets an empty batch, to catch up. The page of a
// deployment has no stream.
export function listen(changed) {
    if (!button) return;
    let last = document.body.dataset.sequence;
    let isLeader = false;

    const take = ({ isAway, id, changes }) => {
        const missed = !changes && id !== last;
        away = isAway;
        last = id;
        show();
        if (!paused && (changes || missed)) changed(changes ?? []);
    };
    const tell = (isAway, id, changes) => {
        const news = { isAway, id, changes };
        channel.postMessage(news);
        take(news);
    };
    channel.onmessage = ({ data }) => {
        if (data !== "hello") take(data);
        else if (isLeader) channel.postMessage({ isAway: away, id: last });
    };

    // The lock is held until the page is closed.
    navigator.locks.request("stream", () => new Promise(() => {
        isLeader = true;
        const source = new EventSource(`/_local/stream?after=${last}`);
        source.onopen = () => tell(false, last);
        source.onerror = () => tell(true, last);
        source.onmessage = ({ data, lastEventId }) => tell(false, lastEventId, JSON.parse(data));
        source.addEventListener("gap", ({ lastEventId }) => tell(false, lastEventId, []));
        addEventListener("pagehide", () => source.close());
    }));
    channel.postMessage("hello");
    addEventListener("pageshow", event => event.persisted && location.reload());
    button.hidden = false;
    button.addEventListener("click", () => {
        paused = !paused;
        show();
        if (!paused) changed([]);
    });
}
