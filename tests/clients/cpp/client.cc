// A client of the tutorial's contract: client PORT framed|unframed DOCUMENT prints a line "label score" for each label.
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/transport/TBufferTransports.h>
#include <thrift/transport/TSocket.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "Predictor.h"

using namespace apache::thrift::transport;
using apache::thrift::protocol::TBinaryProtocol;

int main(int, char** argv) {
  const auto socket = std::make_shared<TSocket>("127.0.0.1", std::atoi(argv[1]));
  std::shared_ptr<TTransport> transport = std::make_shared<TBufferedTransport>(socket);
  if (std::string(argv[2]) == "framed") transport = std::make_shared<TFramedTransport>(socket);
  predictor_service::PredictorClient client(std::make_shared<TBinaryProtocol>(transport));
  transport->open();
  std::map<std::string, double> scores;
  client.predict(scores, argv[3]);
  for (const auto& [label, score] : scores) std::printf("%s %.17g\n", label.c_str(), score);
  transport->close();
}
