// What the programs in TypeScript share: which service, which clinic, and an appointment of today.
import { env } from "node:process";

export const served = env.SERVED!;
export const tenantId = env.TENANT!;
export const startsAt = new Date().toISOString();

export function check(holds: boolean, answer: unknown): void {
  if (!holds) {
    console.error(answer);
    throw new Error("not the answer that was expected");
  }
}
