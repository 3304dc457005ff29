package quotagate.example;

import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpResponse;
import java.time.Duration;
import quotagate.v1.Quota.AcquireRequest;
import quotagate.v1.Quota.Denial;
import quotagate.v1.Quota.TrafficClass;

/** Deletes a user's conversations, as many as Salesforce allows in an hour. */
public final class Example {
  private static final int WANTED = 12;

  private Example() {}

  /**
   * Runs it.
   *
   * @param args the service's address, and Salesforce's URL
   */
  public static void main(String[] args) throws IOException, InterruptedException {
    if (args.length != 2) {
      System.err.println("usage: Example HOST:PORT SALESFORCE-URL");
      System.exit(2);
    }
    run(args[0], args[1], System.out);
  }

  static void run(String server, String salesforceUrl, PrintStream out)
      throws IOException, InterruptedException {
    AcquireRequest asks =
        AcquireRequest.newBuilder()
            .setOrg("example")
            .setExecutionUser("ann")
            .setTrafficClass(TrafficClass.TRAFFIC_CLASS_BULK)
            .build();
    try (Quotagate quotagate = new Quotagate(server, "java-example", Duration.ofSeconds(5))) {
      Salesforce salesforce = new Salesforce(quotagate, asks, "example!ann");
      for (int i = 1; i <= WANTED; i++) {
        URI uri = URI.create(salesforceUrl + "/services/data/v66.0/conversations/" + i);
        try {
          HttpResponse<String> answer = salesforce.send("DELETE", uri, "");
          out.println("conversation " + i + ": " + answer.statusCode());
        } catch (Salesforce.NoPermitException e) {
          if (!(e.getCause() instanceof Quotagate.DeniedException denied)) {
            throw e; // the service cannot be reached: this program may wait
          }
          Denial denial = denied.denial();
          out.println("conversation " + i + ": not sent, " + denial.getReason());
          out.println("again in " + denial.getRetryAfter().getSeconds() / 60 + " min");
          return;
        }
      }
    }
  }
}
