// The stream of changes. The browser reconnects by itself, and names the last change that it has seen.

const button = document.querySelector("button[data-live]");
const words = button.querySelector("[data-live-text]");

let paused = false;

export const isPaused = () => paused;

function show(isAway) {
    button.setAttribute("aria-pressed", String(!paused));
    button.classList.toggle("away", isAway && !paused);
    words.textContent = paused ? "Paused" : isAway ? "No connection" : "Live";
}

// Calls `changed` with each batch of changes. After a pause it gets an empty batch, to catch up.
export function listen(changed) {
    const source = new EventSource(`/_local/stream?after=${document.body.dataset.sequence}`);
    source.onopen = () => show(false);
    source.onerror = () => show(true);
    source.onmessage = ({ data }) => paused || changed(JSON.parse(data));
    source.addEventListener("gap", () => paused || changed([]));
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", event => event.persisted && location.reload());
    button.hidden = false;
    button.addEventListener("click", () => {
        paused = !paused;
        show(source.readyState !== EventSource.OPEN);
        if (!paused) changed([]);
    });
}
