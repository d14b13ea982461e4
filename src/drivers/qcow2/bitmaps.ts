// Dirty bitmaps that are stored in the image (qcow2 specification, "Bitmaps").

/** The stored bitmaps of an open image. */
export interface StoredBitmaps {
  /** Whether what the image holds of bitmaps may be trusted. */
  consistent: boolean
}
