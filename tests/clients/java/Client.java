import java.util.Map;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.transport.TSocket;
import org.apache.thrift.transport.TTransport;
import org.apache.thrift.transport.layered.TFramedTransport;

/** A client of the tutorial's contract: PORT framed|unframed DOCUMENT prints a line "label score" for each label. */
public final class Client {
  public static void main(String[] arguments) throws Exception {
    TTransport socket = new TSocket("127.0.0.1", Integer.parseInt(arguments[0]));
    try (TTransport transport = arguments[1].equals("framed") ? new TFramedTransport(socket) : socket) {
      transport.open();
      Predictor.Client client = new Predictor.Client(new TBinaryProtocol(transport));
      for (Map.Entry<String, Double> score : client.predict(arguments[2]).entrySet()) {
        System.out.println(score.getKey() + " " + score.getValue());
      }
    }
  }
}
