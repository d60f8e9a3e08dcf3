import type { Children } from '../../host/child.ts';
import { Extractor } from './extractor.ts';
import type { Piece } from './output.ts';

/** What a sanitiser gives, extracted into one directory: by one child, and two more for each cut. */
export class Extraction implements AsyncDisposable {
  readonly #make: (over?: 'remove') => Extractor;
  #extractor: Extractor;

  /** `jail` is an empty directory to build in, `root` the one that is filled. */
  constructor(children: Children, jail: string, root: string) {
    this.#make = over => new Extractor(children, jail, root, over);
    this.#extractor = this.#make();
  }

  /** Resolves when more can be taken. */
  async hand(pieces: readonly Piece[]): Promise<void> {
    let run: Buffer[] = [];
    for (const piece of pieces) {
      if (Buffer.isBuffer(piece)) {
        run.push(piece);
        continue;
      }
      await this.#extractor.write(run);
      await this.#extractor.finish();
      this.#extractor = this.#make('remove');
      await this.#extractor.write([piece.remove]);
      await this.#extractor.finish();
      this.#extractor = this.#make();
      run = [];
    }
    await this.#extractor.write(run);
  }

  /** Ends the archive and waits until all of it is there. */
  finish(): Promise<void> {
    return this.#extractor.finish();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#extractor[Symbol.asyncDispose]();
  }
}
