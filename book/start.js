// The page itself: reads its data, and answers by networks in this browser.

import { mount } from "./paint.js";
import { Networks } from "./networks.js";

const data = await (await fetch(new URL("data.json", import.meta.url))).json();
mount(document.getElementById("paint"), data, new Networks());
