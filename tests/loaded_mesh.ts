/**
 * Loads what servers load when they have peers or Redis, for tests in which only the time of a fake clock passes.
 *
 * @module
 */
import { meshModule } from "../src/optional_modules.ts";

await meshModule.load();
