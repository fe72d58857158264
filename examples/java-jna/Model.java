import com.sun.jna.Function;
import com.sun.jna.Memory;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.ptr.PointerByReference;
import java.io.File;

/**
 * One instance of a library that {@code net.export_native} wrote, which takes an array of floats
 * and gives one: by JNA, with the structures of its header.
 */
public final class Model implements AutoCloseable {
  private static final int OUTPUT = 1, FLOAT32 = 0;

  @Structure.FieldOrder({"data", "bytes", "dtype", "dimensions", "shape"})
  public static final class Array extends Structure {
    public Pointer data;
    public long bytes;
    public int dtype, dimensions;
    public long[] shape = new long[8];
  }

  @Structure.FieldOrder({"name", "dtype", "dimensions", "shape", "bytes"})
  public static final class Description extends Structure {
    public Pointer name;
    public int dtype, dimensions;
    public long[] shape = new long[8];
    public long bytes;
  }

  @Structure.FieldOrder({
    "size", "largest", "weights_path", "weights", "weights_bytes", "level", "seed", "allocate",
    "release", "parallel_for", "context", "workers", "message", "message_bytes"
  })
  public static final class Options extends Structure {
    public long size, weights_bytes, seed, message_bytes;
    public Pointer largest, weights_path, weights, level, allocate, release, parallel_for;
    public Pointer context, message;
    public int workers;
  }

  private final Function run, lastError, destroy;
  private Pointer instance;
  private final long row; // of the output: how many numbers there are for each of the first axis

  /** Opens {@code digits.so}, say. */
  public Model(String path) {
    File file = new File(path).getAbsoluteFile();
    NativeLibrary library = NativeLibrary.getInstance(file.getPath());
    String prefix = file.getName().replaceFirst("[.].*", "_");
    run = library.getFunction(prefix + "run");
    lastError = library.getFunction(prefix + "last_error");
    destroy = library.getFunction(prefix + "destroy");

    Options options = new Options();
    Memory message = new Memory(256);
    options.size = options.size();
    options.message = message;
    options.message_bytes = message.size();
    PointerByReference made = new PointerByReference();
    if (library.getFunction(prefix + "create").invokeInt(new Object[] {options, made}) != 0)
      throw new IllegalArgumentException(message.getString(0));
    instance = made.getValue();

    Description output = new Description();
    library.getFunction(prefix + "describe").invokeInt(new Object[] {OUTPUT, 0, output});
    long count = 1;
    for (int axis = 1; axis < output.dimensions; ++axis) count *= output.shape[axis];
    row = count;
  }

  /** What the network gives for an array of this shape, whose first axis is the batch. */
  public synchronized float[] run(float[] data, long... shape) {
    float[] scores = new float[(int) (shape[0] * row)];
    Array input = array(data.length, shape), output = array(scores.length);
    input.data.write(0, data, 0, data.length);
    if (run.invokeInt(new Object[] {instance, input, output}) != 0)
      throw new IllegalArgumentException(lastError.invokeString(new Object[] {instance}, false));
    output.data.read(0, scores, 0, scores.length);
    return scores;
  }

  @Override
  public synchronized void close() {
    destroy.invokeVoid(new Object[] {instance});
    instance = null;
  }

  private static Array array(int count, long... shape) {
    Array made = new Array();
    made.bytes = 4L * count;
    made.data = new Memory(made.bytes);
    made.dtype = FLOAT32;
    made.dimensions = shape.length;
    System.arraycopy(shape, 0, made.shape, 0, shape.length);
    return made;
  }
}
