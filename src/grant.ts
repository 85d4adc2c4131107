import type { Delivery, DeliveryChange } from "#secret";

/** What a VM was given: one secret, and how it appears there. A VM has at most one grant of a secret. */
export interface Grant {
  secretId: string;
  /** The name at the time of attaching, for people; the id is what counts. */
  secretName: string;
  /** What differs from the secret's own delivery. */
  change: DeliveryChange;
  /** The version that the VM keeps, whatever comes after it. */
  pin?: number;
  /** Milliseconds since 1970. */
  attachedAt: number;
}

/** What is asked for when a secret is attached. */
export interface GrantRequest {
  secret: string;
  change: DeliveryChange;
  /** Keep the version that is current now. Absent: as it was, for a secret that is attached already. */
  pin?: true;
}

/** The delivery that holds for a grant. */
export function mergeDelivery(base: Delivery, change: DeliveryChange): Delivery {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete merged[key];
    else if (value !== undefined) merged[key] = value;
  }
  return merged as unknown as Delivery;
}
