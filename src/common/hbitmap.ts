export class HBitmap {}
