/**
 * The modules that a plain server does not load at its start: an option or a request asks for each of them.
 *
 * @module
 */
import { LazyModule } from "./lazy_module.ts";

/** What talks to other servers. */
export const meshModule: LazyModule<typeof import("./create_mesh.ts")> = new LazyModule(() =>
  import("./create_mesh.ts")
);

/** Event streams. */
export const streamsModule: LazyModule<typeof import("./sse/event_streams.ts")> = new LazyModule(() =>
  import("./sse/event_streams.ts")
);

/** Stamps. */
export const stampsModule: LazyModule<typeof import("./stamp/stamps.ts")> = new LazyModule(() =>
  import("./stamp/stamps.ts")
);

/** Which members of a group changed. */
export const detailsModule: LazyModule<typeof import("./sync/group_details.ts")> = new LazyModule(() =>
  import("./sync/group_details.ts")
);
