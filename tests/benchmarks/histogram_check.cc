// Compares the histogram's quantiles with those of the sorted values. Prints the largest relative error and the values.
#include <cstdio>
#include <random>

#include "../../benchmarks/loadgen/histogram.h"

int main() {
  std::mt19937_64 random(1);
  double worst = 0;
  for (const double middle : {1e1, 1e4, 1e6, 1e9}) {
    std::lognormal_distribution<double> latency(std::log(middle), 1.5);
    loadgen::Histogram histogram;
    std::vector<int64_t> values;
    for (int i = 0; i < 100'000; ++i) {
      values.push_back(static_cast<int64_t>(latency(random)));
      histogram.record(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double quantile : {0.001, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::ceil(quantile * static_cast<double>(values.size())));
      const double exact = static_cast<double>(values[rank - 1]) / 1e3;
      const double error = std::abs(histogram.quantile_us(quantile) - exact);
      if (error > 0) worst = std::max(worst, exact == 0 ? 1 : error / exact);
    }
    if (histogram.max_us() != static_cast<double>(values.back()) / 1e3) worst = 1;
  }
  std::printf("%.6f\n", worst);
}
