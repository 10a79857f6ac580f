/**
 * The contract of the prediction service: every type, method and error.
 *
 * Port 9090 speaks it to any generated Thrift client: buffered, framed or THeader (zlib too); binary (strict or old),
 * compact or JSON; multiplexed as "Predictor" or not. So does POST /thrift on the HTTP port, without frames.
 * The HTTP proxy on port 8080 speaks nothing else to the server.
 *
 * Compatibility. `predict(1: string doc)` is PyText's predictor_service, name for name and id for id: a client generated
 * from its two-line file works here unchanged. Everything else was added behind it. Field ids are never used again.
 *
 * Every method may throw PredictionError. A field marked optional may be left out; what that means stands beside it.
 * Limits that belong to the server are settings (`python -m server --help`); limits of one model are in ModelInfo.limits.
 */

namespace cpp predictor_service
namespace py predictor
namespace java predictor
namespace go predictor
namespace js predictor
namespace rb Predictor
namespace perl Predictor
namespace php Predictor
namespace netstd Predictor
namespace rs predictor

// ---------------------------------------------------------------------------------------------------------- errors

/** Why a call failed. One table for Thrift and HTTP; the HTTP status stands beside each. */
enum ErrorCode {
  /** The input is wrong; field says where. HTTP 400. */
  INVALID_ARGUMENT = 1,
  /** No such model, version, stream or job. HTTP 404. */
  NOT_FOUND = 2,
  /** Over a size limit; setting names it, where one sets it. HTTP 413. */
  TOO_LARGE = 3,
  /** The queue is full; try again after retry_after_ms. HTTP 429 with Retry-After. */
  OVERLOADED = 4,
  /** The deadline passed, time in the queue included. HTTP 504. */
  DEADLINE_EXCEEDED = 5,
  /** The model is loading, or the server is draining. HTTP 503. */
  UNAVAILABLE = 6,
  /** The caller went away, or cancelled. HTTP 499. */
  CANCELLED = 7,
  /** A fault of the server or of the model; the server's log has the details under request_id. HTTP 500. */
  INTERNAL = 8,
  /** No token or certificate, or one that is not known. HTTP 401. */
  UNAUTHENTICATED = 9,
  /** The caller is known, but may not do this. HTTP 403. */
  PERMISSION_DENIED = 10
}

exception PredictionError {
  /** What kind of failure this is. */
  1: required ErrorCode code,
  /** For people: what is wrong, which limit, which setting. */
  2: required string message,
  /** Milliseconds after which a new try makes sense; set with OVERLOADED and UNAVAILABLE. */
  3: optional i32 retry_after_ms,
  /** The id under which the server's log knows this call. */
  4: optional string request_id,
  /**
   * The argument that is wrong, or over a limit: its path in the call, such as doc, texts[3], options.timeout_ms,
   * generation_options.top_k or request.output; in a call with many items, the item that failed, whatever failed it. Where it is set, the message begins with it and ": ".
   */
  5: optional string field,
  /**
   * The server's setting whose limit was hit, or that would help: its name, such as max_tokens. timeout_ms: the call
   * named no deadline of its own. Where it is set, the message ends with (setting NAME).
   */
  6: optional string setting
} (python.immutable = "false") // else Python cannot give it a traceback when it leaves a context manager

// --------------------------------------------------------------------------------------------------------- options

/** Which of the two lanes of a model's queue a request waits in. */
enum Lane {
  /** For callers who wait. The default. */
  INTERACTIVE = 0,
  /** For jobs: yields to INTERACTIVE, but keeps a guaranteed share (setting bulk_share). */
  BULK = 1
}

/** What every prediction method takes. All fields may be left out, and so may the whole struct. */
struct RequestOptions {
  /** Model name, as list_models gives it. Default: the first model on the command line that serves the method. */
  1: optional string model,
  /**
   * Milliseconds until the caller stops waiting, 1 to max_timeout_ms, a setting. Default: the setting timeout_ms. A call
   * with many texts gets item_timeout_ms, a setting too, for each beyond the first, up to max_timeout_ms.
   */
  2: optional i32 timeout_ms,
  /** Default: INTERACTIVE. */
  3: optional Lane lane,
  /** Id for the server's log, at most 128 characters. Default: one is made, where a log line needs it. */
  4: optional string request_id
}

/** Options of the reply methods. */
struct ReplyOptions {
  /** At most so many replies, the best first counted; 1 to 1000. Default: all that the model gives. */
  1: optional i32 max_replies,
  /** Replies with a lower score are left out. Default: no threshold beyond the model's own. */
  2: optional double threshold
}

/** Which end of a text that is cut is left out. */
enum TruncationSide {
  RIGHT = 0,
  LEFT = 1
}

/** How the numbers of a vector are written. */
enum VectorEncoding {
  /** IEEE 754 single precision. */
  FLOAT32 = 0,
  /**
   * Each vector times 127 / its largest magnitude, rounded: -127 to 127. The cosine of two vectors stays what it was
   * but for the rounding; a factor for each vector gives the numbers back (EmbeddingMatrix.scales).
   */
  INT8 = 1,
  /**
   * One bit a number, 1 where it is over 0: eight to a byte, the first in the byte's highest bit, zeros at the end.
   * What sentence-transformers calls ubinary; its binary is the same minus 128.
   */
  BINARY = 2
}

/**
 * Options of the embed methods. All models take truncate, dimensions, normalize and encoding; which of the others a
 * model takes is in ModelInfo.details under "options". An option that it does not take is refused.
 */
struct EmbedOptions {
  /** true: a text over the model's token limit is cut to it. false: it is refused with TOO_LARGE. Default: true. */
  1: optional bool truncate,
  /** Which end is cut. Default: as the model's tokenizer says. */
  2: optional TruncationSide truncation_side,
  /**
   * true: a text over the model's token limit is split into parts of at most that size, and gets the mean of their
   * vectors, weighted by their tokens; nothing is cut or refused, so truncate may not be given. Default: false.
   */
  3: optional bool split,
  /** Only the first so many numbers of a vector (Matryoshka), at least 1, at most the model's. Default: all. */
  4: optional i32 dimensions,
  /**
   * true: every vector is scaled to length 1. false: it is what the model, dimensions and split leave. Default: true for
   * a model whose own vectors have length 1, so that shortened ones and means have it too; else false.
   */
  5: optional bool normalize,
  /** One of the model's prompts, to be put before each text; at most 256 characters. Default: the model's default. */
  6: optional string prompt_name,
  /** What to put before each text, or nothing, instead; at most 16,384 characters. Give this or prompt_name. */
  7: optional string prompt,
  /** How the numbers are written; in an answer that is a list of numbers they are those of the bytes. Default: FLOAT32. */
  8: optional VectorEncoding encoding
}

/** Options of classify. */
struct ClassifyOptions {
  /** At most so many labels, the best first; at least 1. Default: all. */
  1: optional i32 top_k,
  /** true: scores as the model's last layer gives them, without softmax or sigmoid. Default: false. */
  2: optional bool raw_scores,
  /**
   * true: a label's score does not depend on the others' (sigmoid). false: the scores add up to 1 (softmax). Default:
   * as the model says; with candidate_labels false.
   */
  3: optional bool multi_label,
  /**
   * Labels of the caller's own, 1 to 1000, each of 1 to 1024 bytes, none twice: how far the text entails each, by a
   * model of natural language inference. Default: the model's own labels.
   */
  4: optional list<string> candidate_labels,
  /**
   * The sentence that says that a text has a label, which takes the place of {}; 1 to 1024 characters. Only with
   * candidate_labels. Default: "This example is {}.".
   */
  5: optional string hypothesis_template,
  /** true: a text over the model's token limit is cut to it. false: it is refused with TOO_LARGE. Default: true. */
  6: optional bool truncate
}

/** Options of rerank. */
struct RerankOptions {
  /** Only the best so many; at least 1. Default: all. */
  1: optional i32 top_n,
  /** true: scores as the model's last layer gives them. false: by the function that its folder names. Default: false. */
  2: optional bool raw_scores,
  /** true: a pair over the model's token limit is cut to it. false: it is refused with TOO_LARGE. Default: true. */
  3: optional bool truncate
}

/** How the tokens of a name become one entity. */
enum Aggregation {
  /** They do not: an entity for each token. */
  NONE = 0,
  /** Neighbours of the same label, as B- and I- say. */
  SIMPLE = 1,
  /** The same over whole words, a word having the label of its first token. */
  FIRST = 2,
  /** The same, a word having the label with the best mean score over its tokens. */
  AVERAGE = 3,
  /** The same, a word having the label of its token with the best score. */
  MAX = 4
}

/** Options of the classify_tokens methods. */
struct TokenOptions {
  /** How tokens become entities. Default: SIMPLE. */
  1: optional Aggregation aggregation,
  /** Labels that are left out; at most 1000, each of 1 to 1024 bytes. Default: only O. */
  2: optional list<string> ignore_labels,
  /** true: a text over the model's token limit is cut to it. false: it is refused with TOO_LARGE. Default: true. */
  3: optional bool truncate
}

/** Options of embed_sparse. */
struct SparseOptions {
  /** true: a text over the model's token limit is cut to it. false: it is refused with TOO_LARGE. Default: true. */
  1: optional bool truncate,
  /** Which end is cut. Default: as the model's tokenizer says. */
  2: optional TruncationSide truncation_side,
  /** One of the model's prompts, to be put before each text; at most 256 characters. Default: the model's default. */
  3: optional string prompt_name,
  /** What to put before each text, or nothing, instead; at most 16,384 characters. Give this or prompt_name. */
  4: optional string prompt,
  /** Only the so many numbers of the greatest weight; at least 1. Default: all that are not 0. */
  5: optional i32 max_active_dims,
  /** Whether the vectors name their tokens. Default: false. */
  6: optional bool tokens
}

/** Options of tokenize. */
struct TokenizeOptions {
  /** Whether the tokens that the model wants around a text are among them. Default: true. */
  1: optional bool special_tokens
}

/**
 * How a text is generated. Where the model's own files (generation_config.json) have other defaults, those are meant:
 * ModelInfo.details shows them, such as default_temperature.
 */
struct GenerationOptions {
  /** Maximum number of new tokens, 0 to max_output_tokens, a limit of the model. Default: 20. */
  1: optional i32 max_tokens,
  /** Sampling temperature, 0 to 10; 0: greedy. Default: 1. */
  2: optional double temperature,
  /** Only the k likeliest tokens are sampled from, at least -1; 0 or -1: all. Default: 0. */
  3: optional i32 top_k,
  /** Only the likeliest tokens that together reach this probability are sampled from, 0 to 1. Default: 1. */
  4: optional double top_p,
  /** Over 1: tokens that were there before become less likely; over 0 to 10. Default: 1. */
  5: optional double repetition_penalty,
  /** Strings that end the text and are not part of it; at most 16, each at most 256 bytes. Default: none. */
  6: optional list<string> stop,
  /** Same seed, model, prompt and options: same text. Default: a new one for every call. */
  7: optional i64 seed,
  /** Only tokens that are at least so likely, measured by the likeliest, are sampled from, 0 to 1. Default: 0. */
  8: optional double min_p,
  /** Taken from the logit of each token that was generated before, -2 to 2. Default: 0. */
  9: optional double presence_penalty,
  /** The same, times how often it was generated, -2 to 2. Default: 0. */
  10: optional double frequency_penalty,
  /** The text does not end before so many new tokens, 0 to max_tokens, unless its form is complete. Default: 0. */
  11: optional i32 min_tokens,
  /** Tokens that end the text and are not part of it; at most 64. Default: none. */
  12: optional list<i32> stop_token_ids,
  /** true: the model's end-of-text token does not end the text. Default: false. */
  13: optional bool ignore_eos,
  /** What is added to tokens' logits, -100 to 100 each; at most 1024 tokens. Default: nothing. */
  14: optional map<i32,double> logit_bias,
  /**
   * The logarithm of each new token's probability, as the model gives it before all other options, and of so many of the
   * likeliest tokens at its place, 0 to 20. Default: none of it.
   */
  15: optional i32 logprobs,
  /** The same of the prompt's tokens, 0 to 20 alternatives. Default: none of it. */
  16: optional i32 prompt_logprobs,
  /** The prompt as token ids, special ones included, instead of the argument prompt, which is empty then. */
  17: optional list<i32> prompt_token_ids,
  /** The text is JSON by this JSON schema; at most 65,536 characters. Give at most one of json_schema, regex, grammar. */
  18: optional string json_schema,
  /** The whole text matches this regular expression, of Rust's regex crate without look-around; at most 65,536 characters. */
  19: optional string regex,
  /** The text is by this grammar, Lark's as llguidance has it or llama.cpp's GBNF; at most 65,536 characters. */
  20: optional string grammar,
  /** true: a max_tokens for which there is no room becomes what fits. false: it is refused. Default: false. */
  21: optional bool clamp_max_tokens
}

/** A tool that the model asks for, with what it is to be called with. */
struct ToolCall {
  /** What the message with the tool's result names it by; at most 256 bytes. */
  1: required string id,
  /** Of the function; at most 256 bytes. */
  2: required string name,
  /** A JSON object. */
  3: required string arguments
}

/** A message of a conversation. What is set is what the model's chat template sees. */
struct ChatMessage {
  /** system, user, assistant, tool, or what else the model's chat template knows; 1 to 64 bytes. */
  1: required string role,
  /** The text. Not set: none, as of an assistant that only called tools. */
  2: optional string content,
  /** Of who speaks, or of the tool whose result this is; at most 256 bytes. */
  3: optional string name,
  /** Of an assistant; at most 128. */
  4: optional list<ToolCall> tool_calls,
  /** Of a tool's result: the id of the call that it answers; at most 256 bytes. */
  5: optional string tool_call_id,
  /** Of an assistant that thought before it answered, where the chat template reads it. */
  6: optional string reasoning_content
}

/** How a conversation becomes a prompt. */
struct ChatOptions {
  /** Tools that the model may call, at most 128, each a JSON object as OpenAI has it: {"type": "function", ...}. */
  1: optional list<string> tools,
  /** Whether the prompt ends where the assistant begins to speak; with continue_final_message false. Default: true. */
  2: optional bool add_generation_prompt,
  /** Whether the text continues the last message, which stays open; not with add_generation_prompt. Default: false. */
  3: optional bool continue_final_message,
  /** A JSON object: what the chat template knows besides, such as {"enable_thinking": false}; at most 65,536 bytes. */
  4: optional string template_arguments,
  /** Whether calls of tools are taken out of the text where tools are given and the form is known. Default: true. */
  5: optional bool parse_tool_calls
}

// --------------------------------------------------------------------------------------------------------- results

/** Vectors in the form that costs least on the wire. */
struct EmbeddingMatrix {
  /** Number of vectors. */
  1: required i32 rows,
  /** Numbers in a vector. */
  2: required i32 columns,
  /** rows * columns IEEE 754 single-precision numbers, little endian, row after row; or as encoding says. */
  3: required binary values,
  /** Number of tokens that the texts, as far as they were read, are to the model; not set where it does not tell. */
  4: optional i64 tokens,
  /** How values are written. INT8: a byte a number. BINARY: (columns + 7) / 8 bytes a row. Not set: FLOAT32. */
  5: optional VectorEncoding encoding,
  /** With INT8: for each row a single-precision number, little endian, that its numbers are to be multiplied with. */
  6: optional binary scales
}

/** A label and its score. */
struct ScoredLabel {
  1: required string label,
  2: required double score,
  /** The label's place among those of the model, or among candidate_labels. */
  3: optional i32 index
}

/** A text's place and score in a ranking. */
struct Ranked {
  /** Of the text, in the list that was given. */
  1: required i32 index,
  2: required double score,
  /** Number of tokens that query and text, as far as they were read, are to the model; not set where it does not tell. */
  3: optional i32 tokens
}

/** A part of a text that has a label. */
struct Entity {
  /** Without B- and I-, unless aggregation is NONE. */
  1: required string label,
  2: required double score,
  /** The part, as it is in the text. */
  3: required string text,
  /** Number of Unicode characters before it. */
  4: required i32 start,
  /** The same, of its end. */
  5: required i32 stop,
  /** With NONE: the token's place among the tokens, special ones counted. */
  6: optional i32 index
}

/** The numbers of a vector that are not 0. */
struct SparseVector {
  /** Their places, which are ids of tokens, in rising order. */
  1: required list<i32> indices,
  /** As many. */
  2: required list<double> values,
  /** The tokens themselves; set where SparseOptions ask for them. */
  3: optional list<string> tokens
}

/** A token of a text. */
struct Token {
  1: required i32 id,
  /** As the vocabulary has it. */
  2: required string text,
  /** Number of Unicode characters of the text before it; start and stop are not set for a special token. */
  3: optional i32 start,
  4: optional i32 stop
}

/** Why a generated text ends. */
enum FinishReason {
  /** max_tokens was reached. */
  LENGTH = 1,
  /** A stop string or one of stop_token_ids was found, or the text's form (json_schema, ...) is complete. */
  STOP = 2,
  /** The model gave its end-of-text token. */
  END_OF_TEXT = 3,
  /** The caller cancelled. */
  CANCELLED = 4,
  /** The deadline passed: the text is what there was until then. */
  DEADLINE = 5
}

/** A token that could stand at a place of a text. */
struct TopLogprob {
  1: required i32 id,
  /** What it writes; of bytes that are no whole characters U+FFFD, of a special token its name. */
  2: required string text,
  /** The bytes that it writes; none for a special token. */
  3: required binary bytes,
  4: required double logprob
}

/** A token of a text, and how likely it was there. */
struct TokenLogprob {
  1: required i32 id,
  /** As in TopLogprob. */
  2: required string text,
  3: required binary bytes,
  /** The natural logarithm of its probability; not set for the first token of a prompt. */
  4: optional double logprob,
  /** The likeliest tokens there, the best first, as many as were asked for. */
  5: optional list<TopLogprob> top
}

/** A generated text. */
struct Generation {
  /** The prompt as it was given; of prompt_token_ids the text that they are. */
  1: required string prompt,
  /** The new text only; a leading space is kept, special tokens are not part of it. */
  2: required string continuation,
  /** Number of tokens generated. */
  3: required i32 token_count,
  4: required FinishReason finish_reason,
  /** Number of tokens that the prompt is to the model. */
  5: optional i32 prompt_tokens,
  /** Of each generated token; set where logprobs are asked for. */
  6: optional list<TokenLogprob> logprobs,
  /** Of each token of the prompt; set where prompt_logprobs are asked for. */
  7: optional list<TokenLogprob> prompt_logprobs
}

/** What a model says next in a conversation. */
struct ChatCompletion {
  /** The text, without the calls of tools in it. */
  1: required string content,
  /** Tools that the model asks for. */
  2: required list<ToolCall> tool_calls,
  /** Number of tokens generated, those of the calls among them. */
  3: required i32 token_count,
  4: required FinishReason finish_reason,
  /** Number of tokens that the conversation is to the model; not set where it does not tell. */
  5: optional i32 prompt_tokens,
  /** Of each generated token, those of the calls among them; set where logprobs are asked for. */
  6: optional list<TokenLogprob> logprobs
}

/** A conversation as a model reads it. */
struct ChatPrompt {
  /** What the model's chat template makes of it. */
  1: required string text,
  /** The ids of its tokens. */
  2: required list<i32> ids
}

/** The next part of a streamed text. */
struct GenerationChunk {
  /** Text since the last chunk; whole characters; may be empty. */
  1: required string text,
  /** Tokens generated so far. */
  2: required i32 token_count,
  /** Set in the last chunk; after it the stream's id is gone. */
  3: optional FinishReason finish_reason,
  /** Number of tokens that the prompt is to the model; set in the last chunk. */
  4: optional i32 prompt_tokens,
  /** Of the tokens since the last chunk; set where logprobs are asked for. Text may come later than its tokens. */
  5: optional list<TokenLogprob> logprobs,
  /** Of each token of the prompt; set in one chunk, where prompt_logprobs are asked for. */
  6: optional list<TokenLogprob> prompt_logprobs,
  /** The text that prompt_token_ids are; set in the first chunk, where they were given. */
  7: optional string prompt,
  /** Of a conversation: tools that the model has asked for since the last chunk, each whole. */
  8: optional list<ToolCall> tool_calls
}

// ------------------------------------------------------------------------------------------------------ batch jobs

/** What a job does with a line that cannot be parsed or predicted. */
enum OnError {
  /** The job fails. */
  FAIL = 0,
  /** An error object takes the place of the line's result and is counted. */
  RECORD = 1
}

enum BatchState {
  QUEUED = 1,
  RUNNING = 2,
  COMPLETED = 3,
  FAILED = 4,
  CANCELLED = 5
}

/** The steps of a job, in their order. */
enum BatchStage {
  /** Getting the model. */
  MODEL = 1,
  /** Starting TensorFlow with a SavedModel. */
  TENSORFLOW = 2,
  /** Reading lines, predicting them, writing results. */
  PREDICTIONS = 3
}

/** A job: files in, files out. */
struct BatchRequest {
  /** predict, reply, embed, generate, rerank, classify_tokens, embed_sparse, embed_tokens or tokenize. */
  1: required string method,
  /** A loaded model's name, or the location of a SavedModel. Default: the method's default model. */
  2: optional string model,
  /** Location to read: one file, or everything below it when it ends in '/'. JSON lines, one instance a line. */
  3: required string input,
  /** Location to write: the same relative paths and names below it, one result a line in the order of the input. */
  4: required string output,
  /** Default: FAIL. */
  5: optional OnError on_error,
  /** With RECORD: more errors than this, at least 0, fail the job. Default: no maximum. */
  6: optional i64 max_errors,
  /** A field of each instance that is carried into its result, its name 1 to 256 characters. Default: none. */
  7: optional string key_field
}

struct BatchJob {
  1: required string id,
  2: required BatchState state,
  3: required BatchRequest request,
  /** Share of the input's bytes that is done, 0 to 1. */
  4: required double progress,
  /** Lines predicted. */
  5: required i64 rows_done,
  /** Lines that got an error object. */
  6: required i64 rows_failed,
  7: required i32 files_done,
  8: required i32 files_total,
  /** Seconds since 1970, UTC. */
  9: required double created_at,
  10: optional double finished_at,
  /** Why the job failed: file, line, reason. */
  11: optional string error,
  /** The step that failed; set with the error. */
  12: optional BatchStage failed_stage
}

// ---------------------------------------------------------------------------------------------- models and status

enum ModelState {
  LOADING = 1,
  READY = 2,
  UNLOADING = 3,
  FAILED = 4
}

/** What one request to a model may be, and how much may wait for it. 0 means that there is no such limit. */
struct ModelLimits {
  /** Tokens in one document or text. */
  1: required i32 max_tokens,
  /** Requests waiting in the queue. */
  2: required i32 queue_items,
  /** Tokens waiting in the queue. */
  3: required i64 queue_tokens,
  /** Requests in one batch. */
  4: required i32 batch_items,
  /** Tokens in one batch, padding included. */
  5: required i32 batch_tokens,
  /** New tokens in one generated text. */
  6: required i32 max_output_tokens
}

struct ModelInfo {
  1: required string name,
  /** First 12 hex digits of the SHA-256 of the model's file. */
  2: required string version,
  /** torchscript-classifier, smart-reply, ... */
  3: required string kind,
  4: required ModelState state,
  /** Where it was loaded from. */
  5: required string location,
  /** Methods that it serves, e.g. ["predict", "predict_batch"]. */
  6: required list<string> methods,
  /** Methods that use it when a request names no model. */
  7: required list<string> default_for,
  8: required ModelLimits limits,
  /**
   * true: the model pads without a mask, so that a document's scores change beside a longer one; only documents of equal
   * token count share a batch. Found by a probe at load.
   */
  9: required bool equal_lengths_only,
  /** What else there is to say about it, e.g. labels, dimensions, device. */
  10: optional map<string, string> details,
  /** Why it is FAILED. */
  11: optional string error,
  /** Seconds since 1970, UTC, when it was loaded; not set before. */
  12: optional double loaded_at
}

/** A model's queue and counters since it was loaded. */
struct ModelStatus {
  1: required string name,
  2: required ModelState state,
  /** Requests waiting now, both lanes. */
  3: required i32 queue_depth,
  /** Tokens waiting now, both lanes. */
  4: required i64 queue_tokens,
  /** Requests in batches that run now. */
  5: required i32 running,
  6: required i64 accepted,
  7: required i64 completed,
  8: required i64 failed,
  /** Refused because the queue was full. */
  9: required i64 overloaded,
  /** Dropped because the deadline passed before they ran. */
  10: required i64 expired,
  /** Dropped because the caller went away or cancelled. */
  11: required i64 cancelled,
  /** Batches run. */
  12: required i64 batches
}

struct ServerStatus {
  1: required string version,
  2: required double uptime_s,
  /** true once every model is warm, until draining starts. */
  3: required bool ready,
  /** Why it is not ready; empty when it is. */
  4: required list<string> reasons,
  5: required i32 connections,
  6: required list<ModelStatus> models
}

// --------------------------------------------------------------------------------------------------------- service

service Predictor {
  /** Label -> score of one document. */
  map<string, double> predict(1: string doc, 2: RequestOptions options) throws (1: PredictionError failure),

  /** The same for many, in their order. One document that fails fails the call; field names it: docs[3]. */
  list<map<string, double>> predict_batch(1: list<string> docs, 2: RequestOptions options)
      throws (1: PredictionError failure),

  /** Labels and their scores of each text, the best first: predict_batch with options, and with labels of one's own. */
  list<list<ScoredLabel>> classify(1: list<string> texts, 2: RequestOptions options,
      3: ClassifyOptions classify_options) throws (1: PredictionError failure),

  /** Parts of the text that have a label, such as names, in their order. */
  list<Entity> classify_tokens(1: string text, 2: RequestOptions options, 3: TokenOptions token_options)
      throws (1: PredictionError failure),

  list<list<Entity>> classify_tokens_batch(1: list<string> texts, 2: RequestOptions options,
      3: TokenOptions token_options) throws (1: PredictionError failure),

  /** How well each text answers the query; the best first. */
  list<Ranked> rerank(1: string query, 2: list<string> texts, 3: RequestOptions options,
      4: RerankOptions rerank_options) throws (1: PredictionError failure),

  /** Suggested reply -> score. */
  map<string, double> reply(1: string message, 2: RequestOptions options, 3: ReplyOptions reply_options)
      throws (1: PredictionError failure),

  list<map<string, double>> reply_batch(1: list<string> messages, 2: RequestOptions options,
      3: ReplyOptions reply_options) throws (1: PredictionError failure),

  /** One map for a whole conversation: a reply that several messages suggest gets the sum of its scores. */
  map<string, double> reply_conversation(1: list<string> messages, 2: RequestOptions options,
      3: ReplyOptions reply_options) throws (1: PredictionError failure),

  /** The text's vector. */
  list<double> embed(1: string text, 2: RequestOptions options, 3: EmbedOptions embed_options)
      throws (1: PredictionError failure),

  list<list<double>> embed_batch(1: list<string> texts, 2: RequestOptions options, 3: EmbedOptions embed_options)
      throws (1: PredictionError failure),

  /** As embed_batch, in the form that costs least to send. */
  EmbeddingMatrix embed_matrix(1: list<string> texts, 2: RequestOptions options, 3: EmbedOptions embed_options)
      throws (1: PredictionError failure),

  /** As embed_matrix, of texts that are ids of the model's tokens already, special ones included, as tokenize gives. */
  EmbeddingMatrix embed_ids(1: list<list<i32>> ids, 2: RequestOptions options, 3: EmbedOptions embed_options)
      throws (1: PredictionError failure),

  /** A vector for each token of each text (ColBERT): a matrix a text. */
  list<EmbeddingMatrix> embed_tokens(1: list<string> texts, 2: RequestOptions options, 3: EmbedOptions embed_options)
      throws (1: PredictionError failure),

  /** Vectors as long as the vocabulary with few numbers that are not 0 (SPLADE). */
  list<SparseVector> embed_sparse(1: list<string> texts, 2: RequestOptions options, 3: SparseOptions sparse_options)
      throws (1: PredictionError failure),

  /** The tokens of each text, whole. */
  list<list<Token>> tokenize(1: list<string> texts, 2: RequestOptions options, 3: TokenizeOptions tokenize_options)
      throws (1: PredictionError failure),

  /** The text that each list of tokens is, special ones written by their names. */
  list<string> detokenize(1: list<list<i32>> ids, 2: RequestOptions options) throws (1: PredictionError failure),

  Generation generate(1: string prompt, 2: GenerationOptions generation_options, 3: RequestOptions options)
      throws (1: PredictionError failure),

  /**
   * Starts a streamed text and gives its id. A stream that nobody reads is cancelled after timeout_ms, and soon after all
   * connections are closed that it was begun and read by (setting stream_orphan_s).
   */
  string generate_begin(1: string prompt, 2: GenerationOptions generation_options, 3: RequestOptions options)
      throws (1: PredictionError failure),

  /**
   * What the model says next, by its own chat template. Where generation_options name no max_tokens, the text may have as
   * many as the model and its limit max_output_tokens leave room for.
   */
  ChatCompletion chat(1: list<ChatMessage> messages, 2: GenerationOptions generation_options, 3: RequestOptions options,
      4: ChatOptions chat_options) throws (1: PredictionError failure),

  /** Starts it as a stream, which generate_next reads and generate_cancel ends, and gives its id. */
  string chat_begin(1: list<ChatMessage> messages, 2: GenerationOptions generation_options, 3: RequestOptions options,
      4: ChatOptions chat_options) throws (1: PredictionError failure),

  /** The prompt that chat would give to the model. */
  ChatPrompt chat_prompt(1: list<ChatMessage> messages, 2: RequestOptions options, 3: ChatOptions chat_options)
      throws (1: PredictionError failure),

  /** Waits up to wait_ms (0 to 60,000) for more text of the stream. */
  GenerationChunk generate_next(1: string stream_id, 2: i32 wait_ms) throws (1: PredictionError failure),

  void generate_cancel(1: string stream_id) throws (1: PredictionError failure),

  /** Accepts a job and gives it back with its id; the job runs on the bulk lane. */
  BatchJob submit_batch(1: BatchRequest request) throws (1: PredictionError failure),

  BatchJob get_batch(1: string id) throws (1: PredictionError failure),

  BatchJob cancel_batch(1: string id) throws (1: PredictionError failure),

  /** Lets a job that failed or was cancelled go on: files that are done stay so. Any other job stays as it is. */
  BatchJob resume_batch(1: string id) throws (1: PredictionError failure),

  /** The newest jobs first, at most limit (1 to 1000). */
  list<BatchJob> list_batches(1: i32 limit) throws (1: PredictionError failure),

  list<ModelInfo> list_models() throws (1: PredictionError failure),

  /**
   * Loads a model, or swaps it when the name is taken: the old one serves until the new one is warm.
   * The location must lie below the setting model_root, or name a model of a hub that the setting hub_models allows
   * (hf://OWNER/NAME); without either setting the method is off.
   */
  ModelInfo load_model(1: string name, 2: string location) throws (1: PredictionError failure),

  /** Finishes what waits for the model, then frees it. */
  void unload_model(1: string name) throws (1: PredictionError failure),

  ServerStatus status() throws (1: PredictionError failure)
}
