// The scripts of the console. Every page works without them; they keep it live.

import { listen } from "./stream.js";
import { refresh, refreshSoon } from "./parts.js";
import { installActions } from "./actions.js";
import { installFilters } from "./filters.js";
import { animate } from "./map.js";

installActions();
installFilters();
listen(changes => {
    animate(changes);
    refreshSoon();
});
// Where there is no stream, the page looks itself while something runs.
setInterval(() => document.querySelector("[data-busy]") && refresh(), 1000);
