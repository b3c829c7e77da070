// Applies filters while a person chooses them, and keeps them in the URL.

import { refresh } from "./parts.js";

export function installFilters() {
    const form = document.querySelector("form[data-filters]");
    if (!form) return;
    form.querySelectorAll("[data-without-script]").forEach(button => (button.hidden = true));
    let timer = 0;
    const apply = () => {
        const chosen = [...new FormData(form)].filter(([, value]) => value !== "");
        const query = new URLSearchParams(chosen).toString();
        history.replaceState(null, "", query ? `?${query}` : location.pathname);
        refresh();
    };
    form.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(apply, 150);
    });
    form.addEventListener("submit", event => {
        event.preventDefault();
        apply();
    });
}
