import static java.lang.foreign.MemoryLayout.paddingLayout;
import static java.lang.foreign.MemoryLayout.sequenceLayout;
import static java.lang.foreign.MemoryLayout.structLayout;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;

/**
 * One instance of a library that {@code net.export_native} wrote, which takes an array of floats
 * and gives one: by foreign functions (Java 22 or later), with the layouts of its header.
 */
public final class Model implements AutoCloseable {
  private static final int OUTPUT = 1, FLOAT32 = 0;
  private static final MemoryLayout SHAPE = sequenceLayout(8, JAVA_LONG).withName("shape");
  private static final MemoryLayout ARRAY = structLayout(
      ADDRESS.withName("data"), JAVA_LONG.withName("bytes"), JAVA_INT.withName("dtype"),
      JAVA_INT.withName("dimensions"), SHAPE);
  private static final MemoryLayout DESCRIPTION = structLayout(
      ADDRESS.withName("name"), JAVA_INT.withName("dtype"), JAVA_INT.withName("dimensions"),
      SHAPE, JAVA_LONG.withName("bytes"));
  private static final MemoryLayout OPTIONS = structLayout(
      JAVA_LONG.withName("size"), ADDRESS.withName("largest"), ADDRESS.withName("weights_path"),
      ADDRESS.withName("weights"), JAVA_LONG.withName("weights_bytes"), ADDRESS.withName("level"),
      JAVA_LONG.withName("seed"), ADDRESS.withName("allocate"), ADDRESS.withName("release"),
      ADDRESS.withName("parallel_for"), ADDRESS.withName("context"), JAVA_INT.withName("workers"),
      paddingLayout(4), ADDRESS.withName("message"), JAVA_LONG.withName("message_bytes"));

  private final SymbolLookup library;
  private final String prefix;
  private final MethodHandle run, lastError, destroy;
  private MemorySegment instance;
  private final long row; // of the output: how many numbers there are for each of the first axis

  /** Opens {@code digits.so}, say. */
  public Model(String path) {
    Path file = Path.of(path).toAbsolutePath();
    Arena arena = Arena.ofAuto();
    library = SymbolLookup.libraryLookup(file, arena);
    prefix = file.getFileName().toString().replaceFirst("[.].*", "_");
    run = function("run", FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, ADDRESS));
    lastError = function("last_error", FunctionDescriptor.of(ADDRESS, ADDRESS));
    destroy = function("destroy", FunctionDescriptor.ofVoid(ADDRESS));

    MemorySegment options = arena.allocate(OPTIONS), message = arena.allocate(256);
    options.set(JAVA_LONG, offset(OPTIONS, "size"), OPTIONS.byteSize());
    options.set(ADDRESS, offset(OPTIONS, "message"), message);
    options.set(JAVA_LONG, offset(OPTIONS, "message_bytes"), message.byteSize());
    MethodHandle create = function("create", FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS));
    MemorySegment made = arena.allocate(ADDRESS);
    if ((int) call(create, options, made) != 0)
      throw new IllegalArgumentException(message.getString(0));
    instance = made.get(ADDRESS, 0);

    MethodHandle describe =
        function("describe", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS));
    MemorySegment output = arena.allocate(DESCRIPTION);
    call(describe, OUTPUT, 0, output);
    long count = 1;
    for (int axis = 1; axis < output.get(JAVA_INT, offset(DESCRIPTION, "dimensions")); ++axis)
      count *= output.get(JAVA_LONG, offset(DESCRIPTION, "shape") + 8 * axis);
    row = count;
  }

  /** What the network gives for an array of this shape, whose first axis is the batch. */
  public synchronized float[] run(float[] data, long... shape) {
    try (Arena during = Arena.ofConfined()) {
      MemorySegment scores = during.allocate(JAVA_FLOAT, shape[0] * row);
      MemorySegment input = array(during, during.allocateFrom(JAVA_FLOAT, data), shape);
      if ((int) call(run, instance, input, array(during, scores)) != 0) {
        MemorySegment text = (MemorySegment) call(lastError, instance);
        throw new IllegalArgumentException(text.reinterpret(Long.MAX_VALUE).getString(0));
      }
      return scores.toArray(JAVA_FLOAT);
    }
  }

  @Override
  public synchronized void close() {
    call(destroy, instance);
    instance = MemorySegment.NULL;
  }

  private static MemorySegment array(Arena arena, MemorySegment data, long... shape) {
    MemorySegment made = arena.allocate(ARRAY);
    made.set(ADDRESS, offset(ARRAY, "data"), data);
    made.set(JAVA_LONG, offset(ARRAY, "bytes"), data.byteSize());
    made.set(JAVA_INT, offset(ARRAY, "dtype"), FLOAT32);
    made.set(JAVA_INT, offset(ARRAY, "dimensions"), shape.length);
    MemorySegment.copy(shape, 0, made, JAVA_LONG, offset(ARRAY, "shape"), shape.length);
    return made;
  }

  private MethodHandle function(String name, FunctionDescriptor type) {
    MemorySegment found =
        library.find(prefix + name).orElseThrow(() -> new UnsatisfiedLinkError(prefix + name));
    return Linker.nativeLinker().downcallHandle(found, type);
  }

  private static Object call(MethodHandle function, Object... arguments) {
    try {
      return function.invokeWithArguments(arguments);
    } catch (Throwable unexpected) { // a call into C throws nothing
      throw new AssertionError(unexpected);
    }
  }

  private static long offset(MemoryLayout layout, String member) {
    return layout.byteOffset(PathElement.groupElement(member));
  }
}
