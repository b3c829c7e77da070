// Moves a dot along an edge for each event, and marks the service that it reaches. With many events, one dot stands for
// several.

const PUBLISHED_MS = 450;
const DELIVERED_MS = 600;
const MOST_DOTS = 60;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const moving = new Set();

const kindOf = result =>
    ({ handled: "handled", retry: "retry", ignored: "retry", reject: "reject", "dead letter": "reject" })[result] ?? "plain";

// Called with each batch of changes.
export function animate(changes) {
    if (!document.querySelector(".map") || document.hidden) return;
    const seen = new Set();
    for (const change of changes) {
        const dot = dotFor(change);
        markTab(change.event);
        // A batch has one dot for each edge and result.
        const key = dot && `${dot.edge} ${dot.kind}`;
        if (!dot || seen.has(key)) continue;
        seen.add(key);
        start(dot);
    }
}

function dotFor({ kind, event, source, service, result }) {
    if (kind === "published" && source) {
        return { edge: `${source.split("/").pop()}>${event}`, kind: "published", delay: 0, time: PUBLISHED_MS };
    }
    if (kind === "delivered") {
        return { edge: `${event}>${service}`, node: service, kind: kindOf(result), delay: PUBLISHED_MS, time: DELIVERED_MS };
    }
    return null;
}

function start({ edge, node, kind, delay, time }) {
    const path = document.querySelector(`[data-edge="${CSS.escape(edge)}"]`);
    if (!path || still.matches || moving.size >= MOST_DOTS) return void mark(node, kind);
    const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    circle.setAttribute("r", "5");
    circle.setAttribute("class", `dot-moving ${kind}`);
    const dot = { path, circle, node, kind, begin: performance.now() + delay, time, length: path.getTotalLength() };
    if (moving.size === 0) requestAnimationFrame(step);
    moving.add(dot);
}

function step(now) {
    for (const dot of moving) {
        const share = (now - dot.begin) / dot.time;
        if (share >= 1) {
            dot.circle.remove();
            moving.delete(dot);
            mark(dot.node, dot.kind);
        } else if (share >= 0) {
            if (!dot.circle.isConnected) dot.path.closest("svg")?.querySelector(".dots")?.append(dot.circle);
            const eased = share < 0.5 ? 2 * share * share : 1 - 2 * (1 - share) * (1 - share);
            const { x, y } = dot.path.getPointAtLength(dot.length * eased);
            dot.circle.setAttribute("cx", x);
            dot.circle.setAttribute("cy", y);
        }
    }
    if (moving.size > 0) requestAnimationFrame(step);
}

// Marks the tab of a system that the page does not show.
function markTab(event) {
    const find = () => document.querySelector(`.tabs a[data-nodes~="${CSS.escape(event ?? "")}"]:not([aria-current])`);
    if (!find()) return;
    find().classList.add("moves");
    setTimeout(() => find()?.classList.remove("moves"), 1200);
}

// Marks a service for a moment.
function mark(node, kind) {
    const found = node && document.querySelector(`[data-node="${CSS.escape(node)}"]`);
    if (!found) return;
    const name = `hit-${kind}`;
    found.classList.add(name);
    setTimeout(() => document.querySelector(`[data-node="${CSS.escape(node)}"]`)?.classList.remove(name), 500);
}
