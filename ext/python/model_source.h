// What Python gives of a model: its config.json, and where its weights lie.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "python/queue.h"
#include "weights/config.h"
#include "weights/model_error.h"
#include "weights/model_files.h"
#include "weights/precision.h"

namespace predictor {

inline Config::Value to_value(const py::handle& given, int depth) {
  constexpr int kMaxDepth = 16;
  if (depth > kMaxDepth) throw ModelError("config.json is nested too deep");
  if (given.is_none()) return {};
  if (py::isinstance<py::bool_>(given)) return {given.cast<bool>()};
  if (py::isinstance<py::int_>(given)) {
    int overflow = 0;
    const long long whole = PyLong_AsLongLongAndOverflow(given.ptr(), &overflow);
    if (overflow != 0) return {given.cast<double>()};
    return {static_cast<int64_t>(whole)};
  }
  if (py::isinstance<py::float_>(given)) return {given.cast<double>()};
  if (py::isinstance<py::str>(given)) return {given.cast<std::string>()};
  if (py::isinstance<py::dict>(given)) {
    Config::Object object;
    for (const auto& [name, value] : given.cast<py::dict>()) {
      object[name.cast<std::string>()] = to_value(value, depth + 1);
    }
    return {std::move(object)};
  }
  Config::List list;
  for (const py::handle item : given.cast<py::sequence>()) list.push_back(to_value(item, depth + 1));
  return {std::move(list)};
}

inline Config to_config(const py::dict& given, const std::string& name) {
  return Config(std::get<Config::Object>(to_value(given, 0).content), name);
}

// (index in files, type, shape, offset, size, paired heads, shift, grouped)
inline WeightPlace to_place(const py::handle& given) {
  const auto parts = given.cast<py::tuple>();
  WeightPlace place{parts[0].cast<size_t>(), parts[1].cast<std::string>(), parts[2].cast<std::vector<int64_t>>(),
                    parts[3].cast<size_t>(), parts[4].cast<size_t>(),      parts[5].cast<int64_t>(),
                    parts[6].cast<float>()};
  if (const py::object grouped = parts[7]; !grouped.is_none()) {
    // (place of zeros, of scales, of groups or None, group size, bits, zero shift, interleaved)
    const auto of_groups = grouped.cast<py::tuple>();
    GroupedPlaces places{to_place(of_groups[0]),       to_place(of_groups[1]),       std::nullopt,
                         of_groups[3].cast<int64_t>(), of_groups[4].cast<int64_t>(), of_groups[5].cast<int64_t>(),
                         of_groups[6].cast<bool>()};
    if (const py::object groups = of_groups[2]; !groups.is_none()) places.groups = to_place(groups);
    place.grouped = std::make_shared<GroupedPlaces>(std::move(places));
  }
  return place;
}

// `weights`: name -> place. `adapter`: name -> (place of what leads down, place of what leads up, scale, turned).
inline WeightPlaces to_places(const std::vector<std::string>& files, const py::dict& weights,
                              const py::dict& adapter = {}) {
  WeightPlaces places{files, {}, {}};
  for (const auto& [name, place] : weights) places.weights.emplace_back(name.cast<std::string>(), to_place(place));
  for (const auto& [name, added] : adapter) {
    const auto parts = added.cast<py::tuple>();
    places.added.emplace_back(name.cast<std::string>(), LowRankPlaces{to_place(parts[0]), to_place(parts[1]),
                                                                      parts[2].cast<double>(), parts[3].cast<bool>()});
  }
  return places;
}

inline Precision take_precision(py::dict& settings) {
  const std::string name = take_setting<std::string>(settings, "precision", "float32");
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  if (name == "int8") return Precision::int8;
  if (name == "int4") return Precision::int4;
  throw py::value_error("precision must be float32, bfloat16, int8 or int4");
}

}  // namespace predictor
