// Hydrogen as its SDK puts it together: the whole application in one page.
import { Client, FeatureSet, Platform, RootView, RootViewModel, createNavigation, createRouter } from "hydrogen-view-sdk";

const olm = { wasm: "olm.wasm", wasmBundle: "olm.js", legacyBundle: "olm_legacy.js" };
const container = document.querySelector("#app");
const platform = new Platform({
    container,
    assetPaths: { downloadSandbox: "", worker: "", olm, serviceWorker: "sw.js" },
    config: { defaultHomeServer: location.hash.slice(2) },
});
location.hash = "";
const navigation = createNavigation();
platform.setNavigation(navigation);
await platform.init();
const urlRouter = createRouter({ navigation, history: platform.history });
urlRouter.attach();
const features = await FeatureSet.load(platform.settingsStorage);
const model = new RootViewModel({ platform, urlRouter, navigation, features });
await model.load();
container.append(new RootView(model).mount());

// What there is no view of is asked over the session of the page: by the SDK, with its token.
globalThis.ask = async (method, path, body) => {
    const api = model._sessionViewModel._client._requestScheduler._hsApi;
    return await api._authedRequest(method, api._homeserver + path, {}, body ?? undefined).response();
};
