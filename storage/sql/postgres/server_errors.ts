/**
 * What PostgreSQL's errors and rows say about a server. Pure.
 *
 * @module
 */

/**
 * Rejects a standby.
 *
 * @throws {Error} When a row says that the server is a standby.
 */
export function refuseStandby(row: object | undefined): void {
  if (!(row as { is_standby?: unknown } | undefined)?.is_standby) return;
  throw new Error("the server is a standby, which only reads: the address must lead to the primary");
}

/** Whether the server reported this error for a statement, and the session continues. */
export function isStatementError(error: unknown): boolean {
  const { name, severity, code } = (error ?? {}) as { name?: unknown; severity?: unknown; code?: unknown };
  // connection_exception, admin_shutdown, crash_shutdown, cannot_connect_now: poolers report them for a lost server.
  const isLoss = typeof code === "string" && /^(08|57P0[123])/.test(code);
  return name === "PostgresError" && severity !== "FATAL" && severity !== "PANIC" && !isLoss;
}

/** Whether the server reported that it, or the transaction, is read-only. */
export function isReadOnlyError(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === "25006";
}
