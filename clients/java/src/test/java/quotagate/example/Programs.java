package quotagate.example;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A server with an empty store, and a stand-in for Salesforce. */
final class Programs implements AutoCloseable {
  static final Path CONFORMANCE = Path.of("..", "conformance");

  private final List<Process> processes = new ArrayList<>();
  final String server;
  final String salesforce;

  Programs() throws IOException {
    String config = CONFORMANCE.resolve("config.yaml").toString();
    String anyPort = "127.0.0.1:0";
    server =
        start(
            "gRPC",
            "serve",
            "--store",
            "memory:",
            "--config",
            config,
            "--grpc",
            anyPort,
            "--http",
            anyPort);
    salesforce = start("stand-in", "standin", "--listen", anyPort).replaceFirst("/$", "");
  }

  /** Starts quotagate, and returns what stands behind that word in what it says. */
  private String start(String word, String... args) throws IOException {
    String binary = System.getenv().getOrDefault("QUOTAGATE_BIN", "../../target/debug/quotagate");
    List<String> command = new ArrayList<>(List.of(binary));
    command.addAll(List.of(args));
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
    Process process = builder.start();
    processes.add(process);
    BufferedReader said =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    for (String line = said.readLine(); line != null; line = said.readLine()) {
      String[] words = line.trim().split("\\s+");
      if (words.length == 2 && words[0].equals(word)) {
        Thread reader = new Thread(() -> drain(process.getInputStream()));
        reader.setDaemon(true);
        reader.start();
        return words[1];
      }
    }
    throw new IOException(String.join(" ", command) + ": it ended before it was ready");
  }

  private static void drain(InputStream stream) {
    try (stream) {
      stream.transferTo(java.io.OutputStream.nullOutputStream());
    } catch (IOException e) {
      // The program has ended.
    }
  }

  /** What the stand-in says that it saw, as JSON. */
  String seen() throws IOException, InterruptedException {
    HttpRequest request = HttpRequest.newBuilder(URI.create(salesforce + "/standin")).build();
    return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
  }

  @Override
  public void close() {
    for (Process process : processes) {
      process.destroyForcibly();
    }
  }
}
