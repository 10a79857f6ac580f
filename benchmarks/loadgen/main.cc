// Load generator of the benchmark: N connections from one thread, each with one request under way.
//
// Closed loop: a connection sends its next document when the last one is answered, and the latency counts from the
// send. Open loop (--rate): requests are due at fixed times whether or not the server keeps up, and the latency counts
// from the time a request was due, so that a stall shows in every request that it held up.

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "histogram.h"
#include "options.h"
#include "replies.h"
#include "requests.h"

namespace loadgen {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

int64_t own_cpu_ns() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

struct Connection {
  int fd = -1;
  bool busy = false;
  bool waits_for_room = false;  // the socket's buffer took only a part of the request
  std::size_t document = 0;
  std::size_t stride = 1;
  std::size_t sent = 0;
  int64_t started = 0;
  std::string received;
};

struct Counts {
  uint64_t requests = 0, overloaded = 0, errors = 0;
  int64_t began = 0, cpu_began = 0;
  Histogram latency;
};

class LoadRun {
 public:
  LoadRun(const Options& options, std::vector<std::string> requests)
      : options_(options), requests_(std::move(requests)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    std::mt19937_64 random(options.seed);
    for (int i = 0; i < options.connections; ++i) connections_.push_back(connect_one(random));
    open_ = connections_.size();
    if (options.rate > 0) interval_ = static_cast<double>(kSecond) / options.rate;
  }

  // Warm up, measure, wait for what is still under way, print. The exit status: 1 when no connection was left.
  int run() {
    loop_until(now_ns() + static_cast<int64_t>(options_.warmup * kSecond), true);
    counts_ = Counts{.began = now_ns(), .cpu_began = own_cpu_ns(), .latency = {}};
    std::fputs("measuring\n", stderr);
    loop_until(counts_.began + static_cast<int64_t>(options_.seconds * kSecond), true);
    const Counts measured = counts_;
    const int64_t ended = now_ns();
    const int64_t cpu = own_cpu_ns() - measured.cpu_began;
    std::fputs("measured\n", stderr);
    loop_until(ended + static_cast<int64_t>(options_.drain * kSecond), false);
    print(measured, static_cast<double>(ended - measured.began) / kSecond, cpu);
    return open_ == 0 ? 1 : 0;
  }

 private:
  Connection connect_one(std::mt19937_64& random) {
    Connection connection{.fd = connected_socket(), .received = {}};
    // A start and a stride without a common divisor: every connection goes through all documents, each in its own
    // order.
    connection.document = random() % requests_.size();
    do {
      connection.stride = 1 + random() % requests_.size();
    } while (std::gcd(connection.stride, requests_.size()) != 1);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = connections_.size()}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
    idle_.push_back(connections_.size());
    return connection;
  }

  int connected_socket() const {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int code = getaddrinfo(options_.host.c_str(), std::to_string(options_.port).c_str(), &hints, &found)) {
      throw std::runtime_error("--host: " + options_.host + ": " + gai_strerror(code));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> address(found, freeaddrinfo);
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
      throw std::runtime_error("cannot connect to " + options_.host + " port " + std::to_string(options_.port) + ": " +
                               std::strerror(errno));
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
  }

  // Run until `end`, a time of now_ns(); without `sending` only until nothing is under way any more.
  void loop_until(int64_t end, bool sending) {
    sending_ = sending;
    if (due_ == 0) due_ = static_cast<double>(now_ns());
    std::array<epoll_event, 256> events{};
    while (open_ > 0 && (sending || busy_ > 0)) {
      int64_t now = now_ns();
      if (now >= end) break;
      if (sending) send_due(now);
      now = now_ns();
      const int64_t wake = interval_ > 0 && sending && !idle_.empty() ? std::min(end, static_cast<int64_t>(due_)) : end;
      const int ready = wait_until(wake, events);
      for (int i = 0; i < ready; ++i) serve(connections_[events[i].data.u64], events[i].events);
    }
  }

  // The number of events; 0 when there was none until `wake`.
  int wait_until(int64_t wake, std::array<epoll_event, 256>& events) const {
    const int64_t spin_end = std::min(wake, now_ns() + static_cast<int64_t>(options_.spin_us * 1e3));
    int64_t now = now_ns();
    for (; now < spin_end; now = now_ns()) {
      if (const int ready = epoll_wait(epoll_, events.data(), events.size(), 0); ready != 0) return ready;
    }
    const int64_t wait = std::max<int64_t>(wake - now, 0);
    const timespec timeout{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
    return epoll_pwait2(epoll_, events.data(), events.size(), &timeout, nullptr);
  }

  // Give idle connections their next request: all of them in the closed loop, as many as are due in the open one.
  void send_due(int64_t now) {
    while (!idle_.empty() && (interval_ == 0 || due_ <= static_cast<double>(now))) {
      Connection& connection = connections_[idle_.back()];
      idle_.pop_back();
      begin(connection, interval_ == 0 ? now_ns() : static_cast<int64_t>(due_));
      due_ += interval_;
    }
  }

  void begin(Connection& connection, int64_t started) {
    connection.document = (connection.document + connection.stride) % requests_.size();
    connection.started = started;
    connection.sent = 0;
    connection.busy = true;
    ++busy_;
    send_rest(connection);
  }

  void send_rest(Connection& connection) {
    const std::string& request = requests_[connection.document];
    const ssize_t count =
        send(connection.fd, request.data() + connection.sent, request.size() - connection.sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return lose(connection, std::strerror(errno));
    connection.sent += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    const bool waits = connection.sent < request.size();
    if (waits == connection.waits_for_room) return;
    connection.waits_for_room = waits;
    epoll_event event{.events = EPOLLIN | (waits ? EPOLLOUT : 0U), .data = {.u64 = number_of(connection)}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
  }

  void serve(Connection& connection, uint32_t events) {
    if ((events & EPOLLOUT) != 0) send_rest(connection);
    if (connection.fd < 0 || (events & ~EPOLLOUT) == 0) return;
    const ssize_t count = recv(connection.fd, scratch_.data(), scratch_.size(), 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) return lose(connection, std::strerror(errno));
    if (count == 0) return lose(connection, "closed by the server");
    connection.received.append(scratch_.data(), static_cast<std::size_t>(count));
    std::size_t size = 0;
    const Outcome outcome = read_reply(connection, size);
    if (outcome == Outcome::incomplete && connection.received.size() <= kMaxReplyBytes) return;
    if (outcome == Outcome::incomplete || outcome == Outcome::malformed || size != connection.received.size()) {
      return lose(connection, "not a reply to the request");
    }
    finish(connection, outcome);
  }

  Outcome read_reply(const Connection& connection, std::size_t& size) const {
    if (!connection.busy) return Outcome::malformed;
    const auto sequence_id = static_cast<uint32_t>(connection.document + 1);
    switch (options_.protocol) {
      case Protocol::thrift:
        return read_thrift_message(connection.received, sequence_id, size);
      case Protocol::thrift_framed:
        return read_thrift_frame(connection.received, sequence_id, size);
      default:
        return read_http_reply(connection.received, size);
    }
  }

  void finish(Connection& connection, Outcome outcome) {
    const int64_t now = now_ns();
    if (outcome == Outcome::success) {
      ++counts_.requests;
      counts_.latency.record(now - connection.started);
    } else {
      ++(outcome == Outcome::overloaded ? counts_.overloaded : counts_.errors);
    }
    connection.received.clear();
    connection.busy = false;
    --busy_;
    if (sending_ && interval_ == 0) {
      begin(connection, now);
    } else {
      idle_.push_back(number_of(connection));
    }
  }

  void lose(Connection& connection, const char* reason) {
    if (lost_ == 0) std::fprintf(stderr, "connection %zu lost: %s\n", number_of(connection), reason);
    if (connection.busy) --busy_;
    std::erase(idle_, number_of(connection));
    close(connection.fd);
    connection.fd = -1;
    connection.busy = false;
    ++lost_;
    --open_;
  }

  std::size_t number_of(const Connection& connection) const {
    return static_cast<std::size_t>(&connection - connections_.data());
  }

  void print(const Counts& counts, double seconds, int64_t cpu_ns) const {
    const auto answers = static_cast<double>(counts.requests + counts.overloaded + counts.errors);
    std::printf("{\"requests\": %lu, \"errors\": %lu, \"overloaded\": %lu, \"lost\": %zu, \"unanswered\": %zu, ",
                counts.requests, counts.errors + lost_ + busy_, counts.overloaded, lost_, busy_);
    std::printf("\"seconds\": %.6f, \"rps\": %.3f, ", seconds, static_cast<double>(counts.requests) / seconds);
    for (const auto& [name, quantile] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}}) {
      std::printf("\"%s_us\": %.2f, ", name, counts.latency.quantile_us(quantile));
    }
    std::printf("\"max_us\": %.2f, \"cpu_us_per_request\": %.3f}\n", counts.latency.max_us(),
                answers == 0 ? 0 : static_cast<double>(cpu_ns) / 1e3 / answers);
  }

  const Options& options_;
  const std::vector<std::string> requests_;
  const int epoll_;
  std::vector<Connection> connections_;
  std::vector<std::size_t> idle_;
  std::vector<char> scratch_ = std::vector<char>(1U << 16);
  std::size_t open_ = 0, busy_ = 0, lost_ = 0;
  double interval_ = 0, due_ = 0;  // nanoseconds between two requests of the open loop, and when the next is due
  bool sending_ = false;
  Counts counts_;
};

}  // namespace
}  // namespace loadgen

int main(int count, char** arguments) {
  try {
    const loadgen::Options options = loadgen::parse(count, arguments);
    return loadgen::LoadRun(options, loadgen::read_requests(options)).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "loadgen: %s\n", error.what());
    return 2;
  }
}