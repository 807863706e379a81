#ifndef SHAPE_THREADAPI_H
#define SHAPE_THREADAPI_H
void ThreadAPI_Sleep(unsigned int milliseconds);
#endif
