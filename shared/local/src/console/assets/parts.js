// Loads the page again, and replaces the parts that have changed. What a person has opened stays open, and a part in
// which a person writes stays as it is.

import { isPaused } from "./stream.js";

const SHORTEST_PAUSE = 700;
// With many events, the page spends at most a fifth of its time on this.
const PAUSE_FOR_WORK = 4;

let timer = 0;
let last = 0;
let work = 0;
let loading = false;

export function refreshSoon() {
    if (timer) return;
    const wait = Math.max(60, last + Math.max(SHORTEST_PAUSE, PAUSE_FOR_WORK * work) - performance.now());
    timer = setTimeout(() => {
        timer = 0;
        if (!isPaused()) refresh();
    }, wait);
}

export async function refresh() {
    if (loading) return refreshSoon();
    loading = true;
    last = performance.now();
    const url = location.href;
    try {
        const answer = await fetch(url, { headers: { accept: "text/html" } });
        if (!answer.ok || url !== location.href) return;
        const text = await answer.text();
        const began = performance.now();
        replace(new DOMParser().parseFromString(text, "text/html"));
        work = performance.now() - began;
    } catch {
        // The stream shows that the connection is lost, and the next change tries again.
    } finally {
        loading = false;
    }
}

const isWritten = part => {
    const active = document.activeElement;
    return part.contains(active) && active.matches("input, textarea, select");
};

function replace(page) {
    const fresh = new Map([...page.querySelectorAll("[data-part]")].map(part => [part.dataset.part, part]));
    for (const part of document.querySelectorAll("[data-part]")) {
        const next = fresh.get(part.dataset.part);
        if (!next || !part.isConnected || isWritten(part)) continue;
        keepOpen(part, next);
        const [list, nextList] = [part.querySelector("[data-list]"), next.querySelector("[data-list]")];
        if (list && nextList) {
            mergeList(list, nextList);
            nextList.replaceWith(list.cloneNode(false));
            replaceAround(part, list, next);
        } else if (!part.isEqualNode(next)) {
            swap(part, next);
        }
    }
}

// Replaces a part, and keeps the focus on the same element.
function swap(part, next) {
    const focused = part.contains(document.activeElement) ? pathTo(part, document.activeElement) : null;
    const fresh = document.adoptNode(next);
    part.replaceWith(fresh);
    focused?.reduce((node, index) => node?.children[index], fresh)?.focus({ preventScroll: true });
}

function pathTo(part, element) {
    const path = [];
    for (let node = element; node !== part; node = node.parentElement) {
        path.unshift([...node.parentElement.children].indexOf(node));
    }
    return path;
}

// Replaces what is beside a list, but not the list.
function replaceAround(part, list, next) {
    const place = next.querySelector("[data-list]");
    if (list.parentElement !== part || place.parentElement !== next) return;
    const beside = [...next.children].filter(child => child !== place);
    const old = [...part.children].filter(child => child !== list);
    if (beside.length !== old.length) return swap(part, next);
    old.forEach((child, index) => child.isEqualNode(beside[index]) || child.replaceWith(document.adoptNode(beside[index])));
}

// Keeps the rows that have not changed.
function mergeList(list, next) {
    const rows = new Map([...list.children].map(row => [row.dataset.key, row]));
    const wanted = [...next.children].map(row => {
        const old = rows.get(row.dataset.key);
        return old?.isEqualNode(row) ? old : document.adoptNode(row);
    });
    const kept = new Set(wanted);
    for (const row of [...list.children]) if (!kept.has(row)) row.remove();
    wanted.forEach((row, index) => {
        if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    });
}

function keepOpen(part, next) {
    for (const details of [part, ...part.querySelectorAll("details")]) {
        const key = details.dataset.keep;
        if (details.tagName !== "DETAILS" || !key) continue;
        const same = [next, ...next.querySelectorAll("details")].find(other => other.dataset.keep === key);
        if (same) same.open = details.open;
    }
}
