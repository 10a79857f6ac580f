// The command line of the load generator.

#pragma once

#include <getopt.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace loadgen {

enum class Protocol { thrift, thrift_framed, http_get, http_json };
constexpr std::array<std::pair<const char*, Protocol>, 4> kProtocols{{{"thrift", Protocol::thrift},
                                                                      {"thrift-framed", Protocol::thrift_framed},
                                                                      {"http-get", Protocol::http_get},
                                                                      {"http-json", Protocol::http_json}}};

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  Protocol protocol = Protocol::thrift;
  int connections = 1;
  double seconds = 5;
  double warmup = 1;
  double drain = 10;
  double rate = 0;
  double spin_us = 0;
  uint64_t seed = 1;
  std::string documents;
  std::string method = "predict";
  std::string field = "doc";
  std::string path = "/";
};

constexpr const char* kUsage =
    R"(usage: loadgen --port P --documents FILE [options]
  --host HOST         server's name or address (127.0.0.1)
  --port P            server's port, 1 to 65535
  --protocol NAME     thrift (unframed binary), thrift-framed, http-get (?doc=) or http-json ({"doc": ...})
  --method NAME       Thrift method with one string as its argument 1 (predict), or, where the name ends in _batch or
                      _matrix, with a list of one
  --field NAME        of the JSON body (doc)
  --path PATH         HTTP path (/)
  --documents FILE    one document a line; every connection goes through them in a seeded order of its own
  --connections N     1 to 10000 (1)
  --seconds T         time measured, up to 3600 (5)
  --warmup T          time before that, up to 3600 (1)
  --drain T           longest wait for the last answers, up to 3600 (10)
  --rate R            open loop: requests a second over all connections (0: closed loop)
  --spin-us T         poll for answers for so long before sleeping, up to 1000000 (0): the time that the system takes to wake
                      this program is not the server's
  --seed N            (1)
Prints one line of JSON. `requests` were answered with a result, and the latencies are theirs; `errors` counts every
other end but OVERLOADED, lost connections and unanswered requests among them. Prints `measuring` and `measured` on
stderr.
)";

inline double number_option(const std::string& name, const char* text, double low, double high) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= low && value <= high)) {
    std::array<char, 80> range{};
    std::snprintf(range.data(), range.size(), " is not a number from %g to %g", low, high);
    throw std::runtime_error("--" + name + ": " + text + range.data());
  }
  return value;
}

inline Protocol protocol_option(std::string_view text) {
  for (const auto& [name, protocol] : kProtocols) {
    if (text == name) return protocol;
  }
  throw std::runtime_error("--protocol: " + std::string(text) + " is not one of those that --help lists");
}

// Sets what the flag `name` stands for. Throws std::runtime_error when the value does not fit.
inline void apply(Options& options, const std::string& name, const char* value) {
  const auto number = [&](double low, double high) { return number_option(name, value, low, high); };
  if (name == "host") options.host = value;
  if (name == "port") options.port = static_cast<int>(number(1, 65535));
  if (name == "protocol") options.protocol = protocol_option(value);
  if (name == "method") options.method = value;
  if (name == "field") options.field = value;
  if (name == "path") options.path = value;
  if (name == "documents") options.documents = value;
  if (name == "connections") options.connections = static_cast<int>(number(1, 10000));
  if (name == "seconds") options.seconds = number(0.01, 3600);
  if (name == "warmup") options.warmup = number(0, 3600);
  if (name == "drain") options.drain = number(0, 3600);
  if (name == "rate") options.rate = number(0, 1e7);
  if (name == "spin-us") options.spin_us = number(0, 1e6);
  if (name == "seed") options.seed = static_cast<uint64_t>(number(0, 1e15));
}

// Throws std::runtime_error with a message for the user; --help prints the usage and ends the program.
inline Options parse(int count, char** arguments) {
  constexpr std::array names{"host",        "port",    "protocol", "method", "field", "path",    "documents",
                             "connections", "seconds", "warmup",   "drain",  "rate",  "spin-us", "seed"};
  std::array<option, names.size() + 2> flags{};
  for (std::size_t i = 0; i < names.size(); ++i) flags[i] = {names[i], required_argument, nullptr, 'v'};
  flags[names.size()] = {"help", no_argument, nullptr, 'h'};
  Options options;
  int index = 0;
  for (int code = 0; (code = getopt_long(count, arguments, "", flags.data(), &index)) != -1;) {
    if (code == 'h') {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (code != 'v') throw std::runtime_error("see --help");
    apply(options, flags[static_cast<std::size_t>(index)].name, optarg);
  }
  if (optind < count) throw std::runtime_error(std::string(arguments[optind]) + ": not an option; see --help");
  if (options.port == 0) throw std::runtime_error("--port is missing; see --help");
  if (options.documents.empty()) throw std::runtime_error("--documents is missing; see --help");
  return options;
}

}  // namespace loadgen
