/** Set at build time from the sources: {@link buildIdLength} characters. */
declare const FLANNEL_CNI_BUILD_ID: string;

/** Of this executable. An agent of another build may do something else with the same call. */
export const buildId = FLANNEL_CNI_BUILD_ID;
