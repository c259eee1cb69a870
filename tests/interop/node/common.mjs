// What the scripts share: their parameters, clients that follow /sync, and waiting.
import { createClient } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

export const parameters = JSON.parse(process.argv[2]);
logger.disableAll?.();
for (const method of ["debug", "info", "log", "warn", "error", "trace"]) console[method] = () => {};

// `threadSupport`: who has it loses what they send into a thread when /sync is faster than the answer (matrix-js-sdk 43).
export async function start({ name, password }, baseUrl, threadSupport = true) {
    const { access_token: accessToken, user_id: userId, device_id: deviceId } = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    });
    const client = createClient({ baseUrl, accessToken, userId, deviceId, timelineSupport: true });
    await client.startClient({ lazyLoadMembers: true, threadSupport, initialSyncLimit: 20 });
    await until(`the first sync of ${name}`, () => client.isInitialSyncComplete());
    return client;
}

export async function until(what, condition) {
    const deadline = performance.now() + 300_000;
    while (performance.now() < deadline) {
        const found = await condition();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`waited in vain: ${what}`);
}

export const membership = (client, roomId, wanted) =>
    until(`${wanted} of ${client.getUserId()}`, () => client.getRoom(roomId)?.getMyMembership() === wanted);

export const shown = (client, roomId, eventId) =>
    until(`${eventId} for ${client.getUserId()}`, () => client.getRoom(roomId)?.findEventById(eventId));

export const refusal = (request) => request.then(() => "", (error) => error.errcode);

export function report(value) {
    process.stdout.write(JSON.stringify(value), () => process.exit(0));
}
