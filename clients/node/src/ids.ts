const SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/** An org as the service names it. */
export function canonicalOrg(org: string): string {
  return canonical(org, "00D");
}

/** An execution user as the service names it. */
export function canonicalUser(user: string): string {
  return canonical(user, "005");
}

/**
 * The 18 characters of a Salesforce id of 15 or 18: the last three say which of the
 * others are upper-case, five to each, and may themselves be in any case. Anything
 * else stays as it is; where it is wrong, it is for the service to refuse it.
 */
function canonical(text: string, prefix: string): string {
  if (!text.startsWith(prefix) || !/^[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?$/.test(text)) {
    return text;
  }
  const id = text.slice(0, 15);
  let suffix = "";
  for (let start = 0; start < 15; start += 5) {
    let upper = 0;
    for (let bit = 0; bit < 5; bit += 1) {
      upper |= /[A-Z]/.test(id.charAt(start + bit)) ? 1 << bit : 0;
    }
    suffix += SUFFIX.charAt(upper);
  }
  const given = text.slice(15);
  return given === "" || given.toUpperCase() === suffix ? id + suffix : text;
}
