/* Scheduled/held case X, cancel/approve, replay of its trigger E1, an equal immediate trigger E2 (other event id), reinstatement.
 flags: NOTEANY  E2 is noted on X whenever X is not sealed (design as written); default (fix): only when X is running, unsealed and of the identity's current epoch, in one conditional transaction
        NOTERUN  noted when running and unsealed, epoch not compared
        NOTE2    state is read first, note written in a second, unconditional step
        STARTBLIND  start/cancel are read-then-write without condition
        REINST   a reinstatement happens after X has fenced
   Code: functions/intake/accept.ts, store/cases.ts (openCase, noteOn), operate/operate.ts.
   Runs:
     holds
     breaks -DNOTEANY
     breaks -DNOTERUN -DREINST
     breaks -DSTARTBLIND
     holds slow -DREINST
     holds -DCR=2
*/
#ifndef CR
#define CR 1
#endif
#ifdef STARTBLIND
#define OPSTEP if :: s==SCHED -> X=CANC; cancelled=1; printf("X cancelled\n") :: else fi
#else
#define OPSTEP atomic { if :: X==SCHED -> X=CANC; cancelled=1; printf("X cancelled\n") :: else fi }
#endif
byte crashes=CR;
#define SCHED 1
#define RUN 2
#define SEALED 3
#define CANC 4
#ifdef NOTELIN  /* condition on the case item alone: its stored epoch equals the one just read from META; E2 takes effect at that read */
#define NEP e
#else
#define NEP E
#endif
byte ev1; byte X; byte Y; byte xep; byte yep; byte E=1; byte F; bit cancelled; bit e2acc; byte e2ep; byte dl1=2; byte creates; bit noted; bit ev2;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Intake1() { /* at-least-once, twice */
again: 
 atomic { if :: ev1==0 -> ev1=1; X=SCHED; creates++; printf("E1: X scheduled\n") :: else -> printf("E1 replay ignored\n") fi; CRASH };
dead: dl1--; if :: dl1>0 -> goto again :: else fi
}
proctype Op() { byte s; X!=0; 
 if :: s=X; OPSTEP :: skip fi }
proctype Start() { byte s; byte e; /* sweeper at the due time, or approval */
again: X!=0; s=X;
 if :: s==SCHED ->
#ifdef STARTBLIND
   atomic { X=RUN; CRASH }
#else
   atomic { if :: X==SCHED -> X=RUN; printf("X starts\n") :: else -> goto again fi; CRASH }
#endif
 :: s==CANC || s==SEALED -> goto fin
 :: s==RUN
 fi;
 atomic { if :: xep==0 -> xep=E :: else fi; e=xep; CRASH };
 atomic { if :: F<e -> F=e :: else fi; printf("X fences %d\n",e); assert(!cancelled); CRASH };
 atomic { X=SEALED; printf("X sealed\n"); CRASH }; goto fin;
dead: goto again;
fin: skip
}
proctype Intake2() { byte s; byte e;
again:
 if :: ev2 -> goto runy :: else fi;
 atomic { s=X; e=E; CRASH };
#ifdef NOTEANY
#define CAN (s==SCHED || s==RUN)
#define CANX (X==SCHED || X==RUN)
#else
#ifdef NOTERUN
#define CAN (s==RUN)
#define CANX (X==RUN)
#else
#define CAN (s==RUN)
#ifdef NOTELIN
#define CANX (X==RUN && xep==e)
#else
#define CANX (X==RUN && (xep==0 || xep==E))
#endif
#endif
#endif
 if :: CAN ->
#ifdef NOTE2
   atomic { ev2=1; noted=1; e2acc=1; e2ep=E; printf("E2 noted on X\n"); CRASH }
#else
   atomic { if :: CANX -> ev2=1; noted=1; e2acc=1; e2ep=NEP; printf("E2 noted on X (state %d)\n",X) :: else -> s=0 fi; CRASH };
   if :: s==0 -> goto again :: else fi
#endif
 :: else -> atomic { ev2=1; Y=RUN; e2acc=1; e2ep=E; printf("E2 opens Y\n"); CRASH }
 fi;
runy: if :: Y==RUN -> atomic { if :: yep==0 -> yep=E :: else fi; CRASH }; atomic { if :: F<yep -> F=yep :: else fi; Y=SEALED; printf("Y fences\n"); CRASH } :: else fi; goto fin;
dead: goto again;
fin: skip
}
proctype Reinst() { F>=1; atomic { E=2; printf("reinstated, epoch 2\n") } }
init { atomic { run Intake1(); run Op(); run Start(); run Start(); run Intake2();
#ifdef REINST
 run Reinst();
#endif
 }
 timeout; printf("end X %d Y %d F %d E %d e2ep %d\n",X,Y,F,E,e2ep);
 assert(creates<=1); assert(e2acc); assert(F>=e2ep);
}
